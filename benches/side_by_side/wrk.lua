-- For wrk: what to send, from the arguments behind `--`, and what came of it as one line of JSON.
--   METHOD BODY keep|close

function init(arguments)
  wrk.method = arguments[1]
  wrk.headers["Host"] = "localhost"
  if arguments[2] ~= "" then
    wrk.body = arguments[2]
    wrk.headers["Content-Type"] = "application/json"
  end
  if arguments[3] == "close" then
    wrk.headers["Connection"] = "close"
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"errors":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f,"p999":%.1f}\n',
    summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)
  ))
end
