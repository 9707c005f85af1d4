// A real Alertmanager for one test: private, on a loopback port of its own, gone without a trace afterwards.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeNamespace } from './namespace.ts'
import { command } from './packages.ts'
import { freePorts } from './ports.ts'
import { startServer, waitUntil } from './processes.ts'

export interface ShownAlert {
  readonly labels: Readonly<Record<string, string>>
  readonly status: { readonly state: string; readonly inhibitedBy: readonly string[] }
}

export interface Alertmanager {
  /** Tells it of alerts that fire, by their labels, as Prometheus would. */
  fire(labels: readonly Readonly<Record<string, string>>[]): Promise<void>
  /** Those that fire, the silent ones included. */
  alerts(): Promise<readonly ShownAlert[]>
  stop(): Promise<void>
}

const NAME = 'prometheus-alertmanager'

/** Starts one with this configuration, and resolves when it takes alerts. Rejects with what it says is wrong. */
export async function startAlertmanager(config: object): Promise<Alertmanager> {
  const directory = mkdtempSync(join(tmpdir(), 'alertmanager-'))
  // JSON is YAML too.
  writeFileSync(join(directory, 'alertmanager.yml'), JSON.stringify(config))
  const port = (await freePorts(1))[0] as number
  const args = [
    `--config.file=${join(directory, 'alertmanager.yml')}`,
    `--storage.path=${join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]
  const server = startServer(NAME, args, directory, withTemplates(directory))
  const at = (path: string, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000), ...init })
  try {
    await waitUntil(
      async () => {
        if (!server.running()) throw new Error(`Alertmanager has ended: ${server.output()}`)
        return (await at('/-/ready').catch(() => undefined))?.ok || undefined
      },
      15_000,
      () => `Alertmanager is not ready: ${server.output()}`,
    )
  } catch (error) {
    await server.stop()
    throw error
  }
  return {
    async fire(labels) {
      const body = JSON.stringify(labels.map((each) => ({ labels: each })))
      const answer = await at('/api/v2/alerts', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      })
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
    },
    alerts: async () => (await (await at('/api/v2/alerts?inhibited=true')).json()) as ShownAlert[],
    stop: () => server.stop(),
  }
}

/** Debian's reads its templates below /usr/share. Where it lies in the cache, it finds them there in a view of its own. */
function withTemplates(directory: string) {
  const { root } = command(NAME)
  if (root === '/') return {}
  const folders = { '/usr/share': join(root, 'usr/share') }
  const { enter, root: seen } = makeNamespace({ command: NAME, directory, accounts: [], folders })
  return { enter, root: seen }
}
