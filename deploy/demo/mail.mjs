/**
 * The demo's mail server alone, for the compose stack. It is simulated and keeps mail in memory only. It accepts mail for
 * example.test on 127.0.0.1, port DEMO_MAIL_PORT (2526). It also answers DNS questions about the demo's senders, on UDP port
 * DEMO_DNS_PORT (2553).
 */
import { startNames } from '../../dist/cli/demo/dns.js'
import { HONEST } from '../../dist/cli/demo/honest.js'
import { startMailServer } from '../../dist/cli/demo/mail-server.js'
import { createLog } from '../../dist/telemetry/log.js'

const log = createLog({ level: 'warn', destination: 1 })
await startNames(HONEST, Number(process.env.DEMO_DNS_PORT ?? 2553))
const { port } = await startMailServer({
  log,
  port: Number(process.env.DEMO_MAIL_PORT ?? 2526),
  onDelivery: () => undefined,
})
console.log(`demo mail server on 127.0.0.1:${port}: keeps mail in memory only, all of it is gone at the end`)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))
