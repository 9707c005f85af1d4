/**
 * The demo's mail server by itself, for the compose stack: simulated, it keeps mail in memory only. It takes mail for
 * example.test on 127.0.0.1, port DEMO_MAIL_PORT (2526).
 */
import { connect, createServer } from 'node:net'
import { startMailServer } from '../../dist/cli/demo/mail-server.js'
import { createLog } from '../../dist/telemetry/log.js'

const port = Number(process.env.DEMO_MAIL_PORT ?? 2526)
const log = createLog({ level: 'warn', destination: 1 })
const mailServer = await startMailServer({ log, onDelivery: () => undefined })

// It chooses a port by itself, and Spillway has to be told one: bytes go through here from the one to the other.
const door = createServer({ noDelay: true }, (outside) => {
  const inside = connect({ host: '127.0.0.1', port: mailServer.port, noDelay: true })
  for (const [from, to] of [
    [outside, inside],
    [inside, outside],
  ]) {
    from.on('error', () => to.destroy())
    from.on('close', () => to.destroy())
    from.pipe(to)
  }
})
door.listen(port, '127.0.0.1', () => {
  console.log(`demo mail server on 127.0.0.1:${port}: keeps mail in memory only, all of it is gone at the end`)
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))
