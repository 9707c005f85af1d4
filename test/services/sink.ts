// Postfix's smtp-sink: an SMTP server that takes everything and keeps nothing, for measuring what is in front of it.

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts, greets } from './ports.ts'
import { ACCOUNTS } from './postfix-config.ts'
import { startServer, waitUntil } from './processes.ts'

export interface Sink {
  readonly port: number
  pids(): number[]
  cpuMs(): number
  stop(): Promise<void>
}

/**
 * Starts a sink on 127.0.0.1, on a free port unless told, and resolves when it greets.
 * `args` are more options of smtp-sink(1), e.g. `['-c']` or `['-h', 'mx.example']`.
 */
export async function startSink(options: { port?: number; args?: readonly string[] } = {}): Promise<Sink> {
  const port = options.port ?? (await freePorts(1))[0]!
  const directory = mkdtempSync(join(tmpdir(), 'sink-'))
  // It does not run as root: -u says who it shall be then.
  const account = process.getuid?.() === 0 ? ['-u', ACCOUNTS.mailbox] : []
  const server = startServer('smtp-sink', [...account, ...(options.args ?? []), `127.0.0.1:${port}`, '1024'], directory)
  try {
    await waitUntil(
      async () => {
        if (!server.running()) throw new Error(`smtp-sink has ended: ${server.output()}`)
        return (await greets(port)) || undefined
      },
      5_000,
      () => `smtp-sink does not greet: ${server.output()}`,
    )
  } catch (error) {
    await server.stop()
    throw error
  }
  return { port, pids: server.pids, cpuMs: server.cpuMs, stop: () => server.stop() }
}
