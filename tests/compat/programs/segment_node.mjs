// Sends the given events with Segment's library for Node, and prints what it could not send.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const given = JSON.parse(readFileSync(process.argv[2]))
const { Analytics } = createRequire(given.modules)('@segment/analytics-node')
const failed = {}
const analytics = new Analytics({
  host: given.url,
  writeKey: given.key,
  maxRetries: given.retries,
  httpRequestTimeout: given.timeout_s * 1000,
  flushAt: given.batch,
})
for (const event of given.events) {
  analytics.track(
    {
      userId: event.user,
      event: event.event,
      properties: { n: event.n, client: 'node' },
      timestamp: event.at,
      messageId: event.id,
    },
    (error) => { if (error) failed[event.id] = String(error.message ?? error) },
  )
}
for (const [call, parameters] of given.calls) analytics[call](parameters)
await analytics.closeAndFlush()
console.log(JSON.stringify({ failed }))
