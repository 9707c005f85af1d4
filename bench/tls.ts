// What the benchmarks of TLS share: certificates, the clients of bench/tls-load.ts, and the bare server.

import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { temporaryFolder } from '../test/support/folders.ts'
import { cpuMs } from './measure.ts'
import { atEnd, type Contender } from './processes.ts'
import type { TlsOrder, TlsTally } from './tls-load.ts'

export interface KeyPair {
  readonly kind: string
  /** Paths. */
  readonly cert: string
  readonly key: string
}

const KINDS = {
  'RSA 2048': ['-newkey', 'rsa:2048'],
  'ECDSA P-256': ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
} as const

/** A key and its certificate, which are gone at the end. */
export function makePair(kind: keyof typeof KINDS): KeyPair {
  const directory = temporaryFolder('spillway-bench-tls')
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const made = ['req', '-x509', '-nodes', '-days', '30', '-subj', '/CN=mx.test.example', '-keyout', key, '-out', cert]
  execFileSync('openssl', [...made, ...KINDS[kind]], { stdio: 'ignore' })
  return { kind, cert, key }
}

/** One of each kind of key that mail servers have. */
export const makePairs = (): readonly KeyPair[] => [makePair('RSA 2048'), makePair('ECDSA P-256')]

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
