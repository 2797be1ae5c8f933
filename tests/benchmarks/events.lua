-- One event a request, or a batch of so many; another user in each event; bodies are made before the
-- clock starts. wrk … URL -- EVENTS
local BODIES_OF_ONE, BODIES_OF_MANY = 20000, 400
local threads = 0
local bodies, sent, count = {}, 0, 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  math.randomseed(os.time() * 16 + number)
  local headers = { ["Content-Type"] = "application/json" }
  local events = tonumber(args[1])
  count = events == 1 and BODIES_OF_ONE or BODIES_OF_MANY
  for i = 1, count do
    local made = {}
    for j = 1, events do
      made[j] = string.format(
        '{"event":"play","user_id":"user-%d","timestamp":"2025-01-18T14:30:00Z",' ..
        '"metadata":{"song_id":"song456","device":"mobile","platform":"ios"}}',
        math.random(1, 1000000000))
    end
    local body = events == 1 and made[1] or '{"batch":[' .. table.concat(made, ",") .. ']}'
    bodies[i] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  sent = sent + 1
  return bodies[sent % count + 1]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.6f,"not_2xx":%d,"late":%d,"broken":%d,' ..
    '"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1000000,
    errors.status, errors.timeout, errors.connect + errors.read + errors.write,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
