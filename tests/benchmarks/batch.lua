-- POST /track/batch, a hundred events a request, another user in each; bodies are made before the clock starts.
local BODIES, EVENTS = 400, 100
local threads = 0
local bodies, sent = {}, 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  math.randomseed(os.time() * 16 + number)
  local headers = { ["Content-Type"] = "application/json" }
  for i = 1, BODIES do
    local events = {}
    for j = 1, EVENTS do
      events[j] = string.format(
        '{"event":"play","user_id":"user-%d","timestamp":"2025-01-18T14:30:00Z",' ..
        '"metadata":{"song_id":"song456","device":"mobile","platform":"ios"}}',
        math.random(1, 1000000000))
    end
    bodies[i] = wrk.format("POST", "/track/batch", headers, '{"batch":[' .. table.concat(events, ",") .. ']}')
  end
end

function request()
  sent = sent + 1
  return bodies[sent % BODIES + 1]
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
