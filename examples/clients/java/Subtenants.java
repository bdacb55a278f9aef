// Lists subtenants through the gateway. Java 17 or newer, nothing to install.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Subtenants {
    public static void main(String[] arguments) throws Exception {
        String base = System.getenv().getOrDefault("PIGELLO_URL", "http://127.0.0.1:8080");

        // One client for all calls: it keeps its connections open.
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request = HttpRequest.newBuilder()
                .uri(URI.create(base + "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10"))
                // Longer than the gateway's own limit, so that it is the one that tells why.
                .timeout(Duration.ofSeconds(35))
                .build();
        var answer = client.send(request, BodyHandlers.ofString());

        String type = answer.headers().firstValue("Content-Type").orElse("");
        if (type.startsWith("application/problem+json")) {
            System.err.println(answer.body());
            System.exit(1);
        }
        if (answer.statusCode() != 200) {
            throw new IllegalStateException("Pigello answers " + answer.statusCode());
        }
        String id = answer.headers().firstValue("X-Request-Id").orElseThrow();
        System.out.println(answer.body().split("\"id\"").length - 1 + " ids (request " + id + ")");
    }
}
