// Opens a page in a browser, waits until it has queued its events and as long as it is told, and
// prints what the page tells, and each line of its console and each error in it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const given = JSON.parse(readFileSync(process.argv[2]))
const resolved = createRequire(given.modules).resolve('puppeteer-core')
const { default: puppeteer } = await import(pathToFileURL(resolved))
const browser = await puppeteer.launch({
  executablePath: given.browser,
  headless: true,
  args: [
    '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--no-proxy-server',
    '--disable-blink-features=AutomationControlled',
  ],
})
const said = []
let told
try {
  const page = await browser.newPage()
  // As a person's browser names itself: page scripts leave out what calls itself a robot.
  const name = (await browser.userAgent()).replace('HeadlessChrome', 'Chrome')
  await page.setUserAgent({ userAgent: name })
  page.on('console', (line) => said.push([line.type(), line.text(), line.location().url ?? '']))
  page.on('pageerror', (error) => said.push(['error', error.message, '']))
  await page.goto(given.page)
  await page.waitForFunction('window.queued', { timeout: given.within_ms })
  await new Promise((resolve) => setTimeout(resolve, given.linger_ms))
  told = await page.evaluate('window.told()')
  await page.goto('about:blank')
} finally {
  await browser.close()
}
console.log(JSON.stringify({ ...told, said }))
