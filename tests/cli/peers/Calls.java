// Calls through java.net.http. Arguments: address, method, path, bytes, count, pause (not used: each call
// follows the one before). Prints how often each status or error came.
import java.net.URI;
import java.net.http.*;
import java.security.cert.X509Certificate;
import java.util.*;
import javax.net.ssl.*;

public class Calls {
    public static void main(String[] a) throws Exception {
        System.setProperty("jdk.internal.httpclient.disableHostnameVerification", "true");
        var any = new X509TrustManager() {
            public void checkClientTrusted(X509Certificate[] chain, String type) {}
            public void checkServerTrusted(X509Certificate[] chain, String type) {}
            public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
        };
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, new TrustManager[] {any}, null);
        var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(tls).build();
        var body = new byte[Integer.parseInt(a[3])];
        var seen = new TreeMap<String, Integer>();
        for (int i = 0; i < Integer.parseInt(a[4]); i++) {
            var request = HttpRequest.newBuilder(URI.create(a[0] + a[2]))
                .header("content-type", "application/json")
                .method(a[1], HttpRequest.BodyPublishers.ofByteArray(body)).build();
            String what;
            try {
                what = "" + client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
            } catch (Exception error) {
                what = error.toString();
            }
            seen.merge(what, 1, Integer::sum);
        }
        var parts = new ArrayList<String>();
        seen.forEach((what, times) -> parts.add(what + ": " + times));
        System.out.println(String.join(", ", parts));
    }
}
