/** In the middle of a flood everything is changed that an operator changes, and no honest client notices. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { OWN_NETWORK } from '../support/program.ts'

test.each(['1', '2'])(
  'a certificate, a deny list, a limit, a mail server and the program, with %s process(es)',
  async (workers) => {
    const [command, ...args] = [
      ...OWN_NETWORK,
      process.execPath,
      fileURLToPath(new URL('day.ts', import.meta.url)),
      workers,
    ]
    const { stdout } = await promisify(execFile)(command as string, args)
    const day = JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, unknown>
    expect(day).toMatchObject({
      // Each honest message was accepted at the first attempt, and is there once.
      ...{ failed: 0, faults: [], accepted: day.sent, arrived: day.sent, different: day.sent },
      names: ['first', 'second'],
      ...{ beforeDeny: '220', afterDeny: '554', upgraded: 0, stopped: 0 },
    })
    expect(day.sent).toBeGreaterThan(50)
    expect(day.atSecond).toBeGreaterThan(0)
    expect(day.longestMs).toBeLessThan(20_000)
  },
  60_000,
)
