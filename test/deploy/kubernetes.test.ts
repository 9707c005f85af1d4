/** The Kubernetes files: each object against the published schema of its kind, and what one of them takes for granted of another. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule'
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { Service } from 'kubernetes-models/v1/Service'
import { parse, parseAllDocuments } from 'yaml'
import { CONFIG_MAPS, configMaps, RULES, rules } from '../../deploy/kubernetes/monitoring.ts'
import { load } from '../../src/config/load.ts'
import { inRoot, ROOT } from './image.ts'

type Model = new (data: never) => { validate(): void }
const KINDS: Readonly<Record<string, Model>> = {
  ConfigMap,
  Deployment,
  NetworkPolicy,
  PodDisruptionBudget,
  PrometheusRule,
  Service,
  ServiceMonitor,
}
interface KubernetesObject {
  readonly kind: string
}
interface Kustomization {
  readonly resources?: readonly string[]
  readonly components?: readonly string[]
  readonly patches?: readonly { readonly path: string }[]
  readonly configMapGenerator?: readonly { readonly name: string; readonly files: readonly string[] }[]
  readonly images?: readonly { readonly name: string; readonly newTag: string }[]
}

const FOLDER = join(ROOT, 'deploy/kubernetes')
const KUSTOMIZATIONS = globSync('**/kustomization.yaml', { cwd: FOLDER }).sort()
const read = <T>(path: string): T => parse(inRoot(`deploy/kubernetes/${path}`)) as T
const objectsIn = (path: string): KubernetesObject[] =>
  parseAllDocuments(inRoot(`deploy/kubernetes/${path}`)).map((each) => each.toJS() as KubernetesObject)
/** Of a folder: its objects, by file. */
const resources = (kustomization: string): string[] =>
  (read<Kustomization>(kustomization).resources ?? [])
    .filter((each) => each.endsWith('.yaml'))
    .map((each) => join(dirname(kustomization), each))
const deployment = read<InstanceType<typeof Deployment>>('base/deployment.yaml')
const pod = deployment.spec?.template?.spec
const container = pod?.containers[0]

function check(object: KubernetesObject): void {
  const Kind = KINDS[object.kind]
  if (Kind === undefined) throw new Error(`no schema for ${object.kind}`)
  new Kind(object as never).validate()
}

test('what is written from the alerts and the dashboards is up to date', () => {
  expect(readFileSync(RULES, 'utf8')).toBe(rules())
  expect(readFileSync(CONFIG_MAPS, 'utf8')).toBe(configMaps())
  // kubectl keeps a copy of each object in an annotation.
  for (const map of objectsIn('components/monitoring/dashboards.yaml')) {
    expect(JSON.stringify(map).length).toBeLessThan(256 * 1024)
  }
})

test.each(KUSTOMIZATIONS.flatMap(resources))('%s fits the schema of its kind', (path) => {
  const objects = objectsIn(path)
  expect(objects.length).toBeGreaterThan(0)
  for (const object of objects) expect(() => check(object)).not.toThrow()
})

test('the schemas see mistakes', () => {
  const wrong = { ...deployment, spec: { ...deployment.spec, replicas: 'two' } }
  expect(() => check(wrong as unknown as KubernetesObject)).toThrow(/replicas/)
})

test.each(KUSTOMIZATIONS)('%s names what is there', (path) => {
  const { resources: named = [], components = [], patches = [], configMapGenerator = [] } = read<Kustomization>(path)
  const files = configMapGenerator.flatMap((each) => each.files)
  for (const each of [...named, ...components, ...patches.map((patch) => patch.path), ...files]) {
    expect([each, existsSync(join(FOLDER, dirname(path), each))]).toEqual([each, true])
  }
})

describe('a pod', () => {
  test('has the time that Spillway takes to end, and is seen by /livez and /readyz at the admin port', () => {
    expect(pod?.terminationGracePeriodSeconds).toBe(720)
    expect(container?.livenessProbe?.httpGet).toEqual({ path: '/livez', port: 'admin' })
    expect(container?.readinessProbe?.httpGet).toEqual({ path: '/readyz', port: 'admin' })
    expect(container?.ports?.map(({ name }) => name)).toEqual(['smtp', 'admin'])
  })

  test('may do nothing that it does not need', () => {
    expect(pod?.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000 })
    expect(container?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    expect(pod?.automountServiceAccountToken).toBe(false)
  })

  test('runs the version of this program', () => {
    const { version } = JSON.parse(inRoot('package.json')) as { version: string }
    expect(read<Kustomization>('base/kustomization.yaml').images).toMatchObject([
      { name: container?.image, newTag: version },
    ])
  })

  test('is what the services, the budget and the policy mean', () => {
    const labels = deployment.spec?.template?.metadata?.labels
    const selectors = ['base/service.yaml', 'base/admin-service.yaml'].map(
      (path) => read<InstanceType<typeof Service>>(path).spec?.selector,
    )
    const budget = read<InstanceType<typeof PodDisruptionBudget>>('base/disruption-budget.yaml').spec?.selector
    const policy = read<InstanceType<typeof NetworkPolicy>>('base/network-policy.yaml').spec?.podSelector
    for (const selector of [...selectors, budget?.matchLabels, policy?.matchLabels]) expect(selector).toEqual(labels)
  })

  test('keeps the addresses of its clients', () => {
    expect(read<InstanceType<typeof Service>>('base/service.yaml').spec?.externalTrafficPolicy).toBe('Local')
  })
})

describe('the settings', () => {
  const patched = read<InstanceType<typeof Deployment>>('components/host-network/deployment.yaml')
  const extra = patched.spec?.template?.spec?.containers[0]?.env ?? []

  test.each(
    globSync('**/spillway.env', { cwd: FOLDER }).flatMap((path) => [
      [path, 'behind a balancer', []] as const,
      [path, 'on port 25 of the machine', extra] as const,
    ]),
  )('%s is one that a node starts with, %s', (path, _, more) => {
    const values = [...(container?.env ?? []), ...more].flatMap(({ name, value }) =>
      value === undefined ? [] : [[name, value.replace('$(POD_IP)', '192.0.2.1')]],
    )
    const env = Object.fromEntries(values.filter(([name]) => name?.startsWith('SPILLWAY_'))) as Record<string, string>
    const files: Record<string, string> = {
      '/etc/spillway/spillway.env': inRoot(`deploy/kubernetes/${path}`),
      '/run/secrets/spillway/admin-token': `${'a1'.repeat(24)}\n`,
      '/run/secrets/spillway/redis-url': 'redis://default:secret@redis.mail.svc:6379/0\n',
    }
    const readFile = (name: string): string => {
      const content = files[name]
      if (content === undefined) throw new Error(`the pod has no ${name}`)
      return content
    }
    const { settings } = load({ env, readFile, hostname: 'spillway-0', openFiles: 65_536 })
    expect(settings.adminListen.port).toBe(9025)
    expect(settings.listen.map(({ port }) => port)).toEqual(more.length === 0 ? [2525, 2525] : [25, 25])
  })

  test('a variable stands before what refers to it', () => {
    const names = extra.map(({ name }) => name)
    expect(names.indexOf('POD_IP')).toBeLessThan(names.indexOf('SPILLWAY_ADMIN_LISTEN'))
    expect(patched.spec?.template?.spec?.containers[0]?.name).toBe(container?.name)
  })
})
