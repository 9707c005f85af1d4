// What the benchmarks of TLS share: certificates, the clients of bench/tls-load.ts, and the bare server.

import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cpuMs } from './measure.ts'
import { atEnd, type Contender } from './processes.ts'
import type { TlsOrder, TlsTally } from './tls-load.ts'

export interface KeyPair {
  readonly kind: string
  /** Paths. */
  readonly cert: string
  readonly key: string
}

/** Two certificates, one of each kind of key that mail servers have. */
export function makePairs(): readonly KeyPair[] {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-bench-tls-'))
  atEnd(() => rmSync(directory, { recursive: true, force: true }))
  const pair = (kind: string, name: string, algorithm: readonly string[]): KeyPair => {
    const [cert, key] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)]
    const made = ['req', '-x509', '-nodes', '-days', '30', '-subj', '/CN=mx.test.example', '-keyout', key, '-out', cert]
    execFileSync('openssl', [...made, ...algorithm], { stdio: 'ignore' })
    return { kind, cert, key }
  }
  return [
    pair('RSA 2048', 'rsa', ['-newkey', 'rsa:2048']),
    pair('ECDSA P-256', 'ec', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']),
  ]
}

export interface TlsLoad {
  order(order: TlsOrder): Promise<TlsTally>
}

/** Starts the clients of bench/tls-load.ts. */
export function startTlsLoad(): TlsLoad {
  const child = fork(join(import.meta.dirname, 'tls-load.ts'))
  atEnd(() => void child.kill())
  return {
    async order(order) {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(180_000) })
      child.send(order)
      return ((await answer) as [TlsTally])[0]
    },
  }
}

/** Starts the server of bench/bare-tls.ts. */
export async function startBareTls({ cert, key }: KeyPair): Promise<Contender> {
  // As long as what Spillway says here: its name, PIPELINING, SIZE, STARTTLS, ENHANCEDSTATUSCODES, 8BITMIME, DSN.
  const child = fork(join(import.meta.dirname, 'bare-tls.ts'), [cert, key, '99'])
  atEnd(() => void child.kill())
  const [{ port }] = (await once(child, 'message')) as [{ port: number }]
  const pids = () => [child.pid as number]
  return { port, pids, cpuMs: () => cpuMs(pids()) }
}
