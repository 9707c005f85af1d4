// A real Exim for one test: private, on loopback ports of its own, gone without a trace afterwards.
//
//     const exim = await startExim({ recipients: ['anna@example.test'] })
//     … 127.0.0.1, exim.port(), or exim.port('haproxy') behind a PROXY header …
//     const [message] = await exim.waitForMessages('anna@example.test', 1)
//     await exim.stop()
//
// The daemon runs in the foreground (-bdf) in a mount namespace where Debian's account for it exists. exim-config.ts says
// what it is told, and what it does to a message.

import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configure, type EximOptions, tables } from './exim-config.ts'
import { byListener, lastLines, type MailServer, onFreePorts, readIfThere, reading, taking } from './mail-server.ts'
import { makeNamespace } from './namespace.ts'
import { command } from './packages.ts'
import { freePorts, listening } from './ports.ts'
import { type Output, runProgram, startServer, waitUntil } from './processes.ts'

const ACCOUNT = 'Debian-exim'

export interface Exim extends MailServer {
  /** Runs another exim on the same queue to its end, e.g. `run(['-qff'])` or `run(['-bS', '-odq'], batch)`. */
  run(args: readonly string[], input?: string | Buffer, ms?: number): Promise<Output>
  /** The words that run another exim on the same queue when its arguments are put behind them. */
  readonly words: readonly string[]
}

/** Starts an Exim and resolves when it takes connections. Rejects with what Exim says is wrong. */
export function startExim(options: EximOptions = {}): Promise<Exim> {
  return onFreePorts(() => startOnce(options))
}

async function startOnce(options: EximOptions): Promise<Exim> {
  if (process.getuid?.() !== 0) throw new Error('Exim is started by root only: run the tests as root')
  const files = tables(options)
  const [plain, haproxy] = (await freePorts(2)) as [number, number]
  const directory = mkdtempSync(join(tmpdir(), 'exim-'))
  chmodSync(directory, 0o755)
  const namespace = makeNamespace({ command: 'exim', directory, accounts: [ACCOUNT] })
  const id = namespace.ids[ACCOUNT] as number
  for (const folder of ['log', 'mail', 'spool']) {
    mkdirSync(join(directory, folder), { mode: 0o750 })
    chownSync(join(directory, folder), id, id)
  }
  const { path, env } = command('exim', namespace.root)
  const config = join(directory, 'exim.conf')
  writeFileSync(config, configure(options, { directory, program: path, account: ACCOUNT, plain, haproxy }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)

  const words = [...namespace.enter, path, '-C', config]
  const daemon = startServer('exim', ['-C', config, '-bdf', '-oP', join(directory, 'pid')], directory, namespace)
  let ready = 0
  const log = () => readIfThere(join(directory, 'log/mainlog')).slice(ready)
  const tail = () => lastLines(`${readIfThere(join(directory, 'log/paniclog'))}${log()}${daemon.output()}`)
  const server = reading('Exim', log, join(directory, 'mail'), tail)
  try {
    await taking('Exim', daemon, () => /listening for SMTP/.test(log()) && listening(haproxy) > 0, plain, tail)
    // Whoever looks at its processes shall not see the one that was there for our own visit.
    await waitUntil(
      () => daemon.pids().length === 1 || undefined,
      5_000,
      () => `Exim still serves the first visitor:\n${tail()}`,
    )
    ready = log().length
  } catch (error) {
    await daemon.stop()
    throw error
  }
  return {
    directory,
    port: byListener('Exim', { plain, haproxy }),
    ...server,
    pids: daemon.pids,
    cpuMs: daemon.cpuMs,
    words: ['env', ...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...words],
    run: (args, input, ms = 15_000) =>
      runProgram([...words, ...args], {
        cwd: directory,
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', ...env },
        timeout: ms,
        ...(input !== undefined && { input }),
      }),
    stop: () => daemon.stop(),
  }
}
