/** Run by log.test.ts: a program whose log is on a disk that is full, and that has come to its end. */
import { createLog } from '../../src/telemetry/log.ts'

const log = createLog({ level: 'info', destination: '/dev/full' })
const write = (): void => {
  for (let i = 0; i < 200; i++) log.info({ text: 'x'.repeat(200) }, 'line')
}

write()
// By then the disk has refused what was written. So it does with what comes after.
process.once('beforeExit', () => {
  log.flush()
  write()
  log.flush()
  console.log('flushed')
})
