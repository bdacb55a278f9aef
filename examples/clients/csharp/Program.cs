// Lists subtenants through the gateway. .NET 8 or newer, nothing to install.

using System.Net.Http.Json;
using System.Text.Json;

var address = Environment.GetEnvironmentVariable("PIGELLO_URL") ?? "http://127.0.0.1:8080";

// One client for all calls: it keeps its connections open. A proxy of the environment is not for this
// machine.
using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false })
{
    BaseAddress = new Uri(address),
    // Longer than the gateway's own limit, so that it is the one that tells why.
    Timeout = TimeSpan.FromSeconds(35),
};

using var answer = await client.GetAsync(
    "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10");
var body = await answer.Content.ReadFromJsonAsync<JsonElement>();
if (answer.Content.Headers.ContentType?.MediaType == "application/problem+json")
{
    Console.Error.WriteLine(
        $"{body.GetProperty("title")}: {body.GetProperty("detail")} (request {body.GetProperty("request_id")})");
    return 1;
}
answer.EnsureSuccessStatusCode();
var id = answer.Headers.GetValues("X-Request-Id").First();
Console.WriteLine($"{body.GetArrayLength()} subtenants (request {id})");
return 0;
