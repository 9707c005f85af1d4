/**
 * The alerts and the dashboards as Kubernetes objects: a PrometheusRule for the Prometheus operator, and for each dashboard a
 * ConfigMap that Grafana's sidecar loads. `npm run kubernetes` writes them, and a test fails while they are out of date. Kustomize takes
 * no files from outside its folder, so they cannot be read from where they are.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parse, stringify } from 'yaml'

const ALERTS = new URL('../prometheus/alerts.yml', import.meta.url)
const DASHBOARDS = new URL('../grafana/dashboards/', import.meta.url)
const COMPONENT = new URL('components/monitoring/', import.meta.url)
export const RULES = new URL('rules.yaml', COMPONENT)
export const CONFIG_MAPS = new URL('dashboards.yaml', COMPONENT)

const HEAD = (from: string): string => `# Written by \`npm run kubernetes\` from ${from}.\n`
const dump = (object: unknown): string => stringify(object, { lineWidth: 0 })

/** @returns the text of rules.yaml */
export function rules(): string {
  const spec = parse(readFileSync(ALERTS, 'utf8')) as unknown
  const rule = { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata: { name: 'spillway' }, spec }
  return HEAD('deploy/prometheus/alerts.yml') + dump(rule)
}

/** @returns the text of dashboards.yaml */
export function configMaps(): string {
  const files = readdirSync(DASHBOARDS).filter((name) => name.endsWith('.json'))
  const maps = files.sort().map((file) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `spillway-dashboard-${basename(file, '.json')}`, labels: { grafana_dashboard: '1' } },
    // In one line: kubectl keeps a copy in an annotation, which has 256 KB.
    data: { [file]: JSON.stringify(JSON.parse(readFileSync(new URL(file, DASHBOARDS), 'utf8'))) },
  }))
  return HEAD('deploy/grafana') + maps.map(dump).join('---\n')
}

if (import.meta.main) {
  writeFileSync(RULES, rules())
  writeFileSync(CONFIG_MAPS, configMaps())
}
