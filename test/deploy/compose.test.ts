import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { withSettings } from '../../deploy/compose.ts'
import { demoSettings } from '../../src/cli/demo/settings.ts'
import { load } from '../../src/config/load.ts'
import { isSetting, SETTING_NAMES } from '../../src/config/settings.ts'
import { CERT, KEY } from '../config/pem.ts'
import { type Compose, composeConfig, type Service, STACK_FILE, seconds, withProfiles } from './compose.ts'
import { inRoot, ROOT } from './image.ts'

const stackText = readFileSync(STACK_FILE, 'utf8')
const GRACE_S = 720
const ENV_FILE = '/srv/spillway.env'

let folder: string
let stack: Compose
let demo: Compose
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-compose-'))
  stack = await composeConfig(STACK_FILE, { STACK_ENV_FILE: ENV_FILE })
  demo = await composeConfig(STACK_FILE)
})
afterAll(() => rmSync(folder, { recursive: true }))

/** The environment of a service, as its process has it: what is null is not there. */
const environmentOf = ({ services }: Compose, name = 'spillway'): Record<string, string> =>
  Object.fromEntries(
    Object.entries(services[name]?.environment ?? {}).filter((entry): entry is [string, string] => entry[1] !== null),
  )

/** Loads settings as the program in the container would, with the files that the stack puts there. */
const loadIn = (compose: Compose, envFile: string, mounted: Readonly<Record<string, string>> = {}) => {
  const env = environmentOf(compose)
  const files: Record<string, string> = {
    [env.SPILLWAY_ENV_FILE as string]: envFile,
    '/run/spillway/admin-token': `${'a1'.repeat(24)}\n`,
    '/run/spillway/redis-url': 'redis://default:secret@127.0.0.1:6379/0\n',
    ...mounted,
  }
  const readFile = (path: string): string => {
    const content = files[path]
    if (content === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
    return content
  }
  const openFiles = compose.services.spillway?.ulimits?.nofile?.soft as number
  return load({ env, readFile, hostname: 'mx.example.test', openFiles })
}
const DEMO_SETTINGS = inRoot('deploy/demo/spillway.env')
const EXAMPLE = inRoot('.env.example').replace(/^#(?=SPILLWAY_(UPSTREAMS|UPSTREAM_CLIENT_IP)=)/gm, '')

test('docker-compose is one that sees mistakes', async () => {
  const broken = join(folder, 'docker-compose.yml')
  writeFileSync(broken, stackText.replaceAll('mem_limit:', 'memory_limit:'))
  await expect(composeConfig(broken)).rejects.toThrow(/memory_limit/)
})

const ALWAYS = ['check', 'redis', 'secrets', 'spillway']

describe('the profiles', () => {
  test.each([
    [[], []],
    [['monitoring'], ['alertmanager', 'grafana', 'prometheus']],
    [['demo'], ['mail', 'senders']],
    [
      ['demo', 'monitoring'],
      ['alertmanager', 'grafana', 'mail', 'prometheus', 'senders'],
    ],
  ])('%j: each is a whole stack by itself, and adds %j', (profiles, added) => {
    const { services, volumes } = withProfiles(stack, ...profiles)
    expect(Object.keys(services).sort()).toEqual([...ALWAYS, ...added].sort())
    for (const [name, { depends_on = {}, healthcheck, volumes: mounted = [] }] of Object.entries(services)) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        expect([name, Object.keys(services)]).toEqual([name, expect.arrayContaining([other])])
        // Somebody must say that it is healthy: the service, or the image of Spillway.
        const waited = services[other]
        if (condition === 'service_healthy') expect([other, waited?.healthcheck?.disable]).toEqual([other, undefined])
        else expect([other, condition, waited?.restart]).toEqual([other, 'service_completed_successfully', 'no'])
      }
      for (const mount of mounted.filter((each) => !each.startsWith('/')))
        expect(Object.keys(volumes)).toContain(mount.split(':')[0])
      if (name !== 'spillway') expect([name, healthcheck]).toEqual([name, expect.any(Object)])
    }
  })

  test('no two services listen on the same port', () => {
    const text = Object.values(stack.services).map(({ command = [] }) => command.join(' '))
    const ports = text.flatMap((words) => [...words.matchAll(/(?:--port |listen-address=127\.0\.0\.1:)(\d+)/g)])
    const all = [...ports.map(([, port]) => port), '3000', '2525', '2526', '9025']
    expect(new Set(all).size).toBe(all.length)
    expect(all).toHaveLength(7)
  })

  test('what the demo adds is nowhere else', () => {
    expect(JSON.stringify(withProfiles(stack, 'monitoring'))).not.toMatch(/deploy\/demo|2526|example\.test/)
    expect(stackText).not.toMatch(/^name:|container_name|external:/m)
  })
})

describe('the file with the settings', () => {
  test('is found in .env, in every later shell', async () => {
    const { secrets } = await composeConfig(STACK_FILE, {}, 'STACK_ENV_FILE=./spillway.env\n')
    expect(secrets?.settings?.file).toBe(join(ROOT, 'spillway.env'))
  })

  test.each(['', undefined])('is that of the demo where STACK_ENV_FILE is %j', async (given) => {
    const { secrets } = await composeConfig(STACK_FILE, given === undefined ? {} : { STACK_ENV_FILE: given })
    expect(secrets?.settings?.file).toBe(join(ROOT, 'deploy/demo/spillway.env'))
  })
})

describe('the demo', () => {
  test('has settings without a mistake, and listens on loopback only', () => {
    const { settings, warnings } = loadIn(demo, DEMO_SETTINGS)
    expect(settings.listen).toEqual([{ host: '127.0.0.1', port: 2525 }])
    expect(settings.adminListen).toEqual({ host: '127.0.0.1', port: 9025 })
    expect(settings.adminToken).toBe('a1'.repeat(24))
    // No certificate in the demo.
    expect(warnings.filter((warning) => !warning.startsWith('STARTTLS'))).toEqual([])
  })

  test('tells the same as `npm run demo`: its settings differ only in where history and limits are kept, and in the one process', () => {
    const { settings } = loadIn(demo, DEMO_SETTINGS)
    const ports = { mail: 2525, admin: 9025, mailServer: 2526, names: 2553, history: '/tmp/history' }
    const { settings: plain } = demoSettings(ports)
    const own = ['adminToken', 'redisUrl', 'historyFile', 'maxConnections', 'overloadEventLoop']
    const common = (Object.keys(plain) as (keyof typeof plain)[]).filter((key) => !own.includes(key))
    expect(common.length).toBeGreaterThan(60)
    for (const key of common) expect([key, settings[key]]).toEqual([key, plain[key]])
    expect(settings.overload).toBe(plain.overload)
    expect(inRoot('deploy/demo/spillway.env')).not.toMatch(/^SPILLWAY_OVERLOAD/m)
  })
})

describe('the settings of the stack', () => {
  test('are what the declaration says (npm run compose)', () => {
    expect(withSettings(stackText)).toBe(stackText)
  })

  test('are all there, by their own name or by NAME_FILE', () => {
    const names = Object.keys(stack.services.spillway?.environment ?? {}).map((name) =>
      isSetting(name) ? name : name.replace(/_FILE$/, ''),
    )
    expect(new Set(names)).toEqual(new Set([...SETTING_NAMES, 'SPILLWAY_ENV']))
  })

  test('are the env file as it is, which only Spillway reads', () => {
    expect(stack.secrets?.settings?.file).toBe(ENV_FILE)
    const [given, ...others] = stack.services.spillway?.secrets ?? []
    expect([given?.source, others]).toEqual(['settings', []])
    expect(environmentOf(stack).SPILLWAY_ENV_FILE).toBe(`/run/secrets/${given?.target}`)
    const { settings } = loadIn(stack, `${EXAMPLE}\nexport SPILLWAY_LOG_LEVEL="debug" # for a day\n`)
    expect(settings.listen).toHaveLength(2)
    expect(settings.logLevel).toBe('debug')
  })

  test('come from .env or the shell, too, and those win over the file', async () => {
    const given = await composeConfig(STACK_FILE, {
      STACK_ENV_FILE: ENV_FILE,
      SPILLWAY_LIMIT_IP_CONNECTIONS: '77/1m',
    })
    expect(environmentOf(given).SPILLWAY_LIMIT_IP_CONNECTIONS).toBe('77/1m')
    expect(loadIn(given, EXAMPLE).settings.limitIpConnections).toEqual({ max: 77, windowMs: 60_000 })
  })

  test('are checked before Spillway starts, as it would read them itself', () => {
    const { spillway, check } = stack.services
    expect(spillway?.depends_on?.check).toEqual({ condition: 'service_completed_successfully' })
    expect(check?.entrypoint).toEqual(['node', 'deploy/check.mjs'])
    expect(check?.volumes).toEqual(expect.arrayContaining([...(spillway?.volumes ?? [])]))
    for (const part of ['image', 'environment', 'secrets', 'ulimits', 'user'] as const) {
      expect([part, check?.[part]]).toEqual([part, spillway?.[part]])
    }
    // An unedited copy of the example has nothing that is required.
    expect(() => loadIn(stack, inRoot('.env.example'))).toThrow(/SPILLWAY_UPSTREAMS[\s\S]*SPILLWAY_UPSTREAM_CLIENT_IP/)
  })

  test('keep secrets in files, none of them in the repository, and each where it is needed', () => {
    const given = environmentOf(stack)
    expect(given).not.toHaveProperty('SPILLWAY_ADMIN_TOKEN')
    expect(given).not.toHaveProperty('SPILLWAY_REDIS_URL')
    const paths = ['/run/spillway/admin-token', '/run/spillway/redis-url']
    expect([given.SPILLWAY_ADMIN_TOKEN_FILE, given.SPILLWAY_REDIS_URL_FILE]).toEqual(paths)
    const seenBy = (volume: string): string[] =>
      Object.entries(stack.services)
        .filter(([, { volumes = [] }]) => volumes.some((mount) => mount.startsWith(`${volume}:`)))
        .map(([name]) => name)
        .sort()
    // The demo's senders tell Redis who they are.
    expect(seenBy('spillway-secrets')).toEqual(['check', 'secrets', 'senders', 'spillway'])
    expect(seenBy('redis-secrets')).toEqual(['redis', 'secrets'])
    expect(seenBy('grafana-secrets')).toEqual(['grafana', 'secrets'])
    expect(stack.services.spillway?.volumes).toContain('spillway-secrets:/run/spillway:ro')
  })

  test('may name a certificate and lists, from folders of the host', async () => {
    const folders = { STACK_TLS_DIR: '/etc/spillway/tls', STACK_LISTS_DIR: '/etc/spillway/lists' }
    const given = await composeConfig(STACK_FILE, { STACK_ENV_FILE: ENV_FILE, ...folders })
    for (const path of Object.values(folders)) {
      expect(given.services.spillway?.volumes).toContain(`${path}:${path}:ro`)
    }
    const envFile = [
      EXAMPLE,
      'SPILLWAY_TLS_CERT=/etc/spillway/tls/fullchain.pem',
      'SPILLWAY_TLS_KEY=/etc/spillway/tls/privkey.pem',
      'SPILLWAY_DENY=@/etc/spillway/lists/deny',
    ].join('\n')
    const { settings, warnings } = loadIn(given, envFile, {
      '/etc/spillway/tls/fullchain.pem': CERT,
      '/etc/spillway/tls/privkey.pem': KEY,
      '/etc/spillway/lists/deny': '198.51.100.0/24\n',
    })
    expect(settings.deny).toHaveLength(1)
    expect(warnings.filter((warning) => warning.startsWith('STARTTLS'))).toEqual([])
  })

  test('find empty folders where none is given, and nothing is made on the host', () => {
    expect(stack.services.spillway?.volumes).toEqual([
      'spillway-secrets:/run/spillway:ro',
      'tls:/etc/spillway/tls:ro',
      'lists:/etc/spillway/lists:ro',
    ])
  })
})

describe('every service of the stack', () => {
  const compose = (): Compose => stack
  const services = () => Object.entries(compose().services)
  /** Those that do their work and end. */
  const ends = (name: string): boolean => name === 'secrets' || name === 'check'

  test('runs an image of one exact version', () => {
    const { version } = JSON.parse(inRoot('package.json')) as { version: string }
    for (const [name, { image, build }] of services()) {
      expect([name, image]).toEqual([name, expect.stringMatching(/^[a-z/]+:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?$/)])
      // Ours is never looked for in a registry.
      expect([name, build !== undefined]).toEqual([name, image === `spillway:${version}`])
    }
    expect(stackText).not.toContain('latest')
  })

  test('can do no more than it has to', () => {
    for (const [name, service] of services()) {
      const { read_only, cap_drop, cap_add, security_opt, privileged } = service
      expect([name, { read_only, cap_drop, cap_add, security_opt, privileged }]).toEqual([
        name,
        {
          read_only: true,
          cap_drop: ['ALL'],
          cap_add: undefined,
          security_opt: ['no-new-privileges:true'],
          privileged: undefined,
        },
      ])
      // The image of Spillway says by itself that it is not root; who makes the secrets is root with nothing and nowhere.
      const user = service.user ?? (service.build === undefined ? '0' : '1000')
      expect([name, user.startsWith('0') ? service.network_mode : 'host']).toEqual([
        name,
        name === 'secrets' ? 'none' : 'host',
      ])
    }
  })

  test('is watched, bounded, started again, and does not fill the disk with its log', () => {
    for (const [name, service] of services()) {
      expect([name, service.restart]).toEqual([name, ends(name) ? 'no' : 'unless-stopped'])
      expect([name, service.mem_limit, service.pids_limit]).toEqual([name, expect.stringMatching(/^\d+[mg]$/), 200])
      expect([name, service.logging?.options?.['max-size']]).toEqual([name, '10m'])
      // The image of Spillway has its own.
      if (name !== 'spillway') expect([name, service.healthcheck]).toEqual([name, expect.any(Object)])
      expect(service.stop_grace_period).toBeDefined()
    }
  })

  test('mounts only what is there', () => {
    for (const [name, { volumes = [] }] of services()) {
      for (const volume of volumes) {
        const [source = '', , mode] = volume.split(':')
        if (source.startsWith('/')) expect([name, source, existsSync(source), mode]).toEqual([name, source, true, 'ro'])
        else expect(Object.keys(compose().volumes)).toContain(source)
      }
    }
  })

  test('is reached at its true address, and sees that of its clients: it is on the network of the host', () => {
    expect(compose().services.spillway?.network_mode).toBe('host')
    for (const [, { ports }] of services()) expect(ports).toBeUndefined()
  })

  test(`leaves Spillway time to drain: ${GRACE_S} s, as everywhere`, () => {
    const { settings } = loadIn(compose(), EXAMPLE)
    expect(GRACE_S * 1000).toBeGreaterThanOrEqual(settings.upstreamDataTimeout + 60_000)
    expect(seconds(compose().services.spillway?.stop_grace_period ?? '')).toBe(GRACE_S)
    expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^TimeoutStopSec=${GRACE_S}$`, 'm'))
    expect(inRoot('docs/deploy/kubernetes.md')).toContain(`terminationGracePeriodSeconds: ${GRACE_S}`)
    expect(inRoot('docs/deploy/one-box.md')).toContain(`--stop-timeout ${GRACE_S}`)
  })

  test('has as many open files as it takes connections', () => {
    const nofile = compose().services.spillway?.ulimits?.nofile
    expect(nofile?.soft).toBe(nofile?.hard)
    expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^LimitNOFILE=${nofile?.soft}$`, 'm'))
  })
})

test('with kernel-offload.yml Spillway and its check are root with CAP_NET_ADMIN alone, in an image with nft', async () => {
  const file = join(ROOT, 'deploy/compose/kernel-offload.yml')
  const { services } = await composeConfig([STACK_FILE, file], { STACK_ENV_FILE: ENV_FILE })
  for (const name of ['spillway', 'check']) {
    const { user, cap_add, cap_drop, build, image, ...rest } = services[name] as Service
    expect({ user, cap_add, cap_drop }).toEqual({ user: '0:0', cap_add: ['NET_ADMIN'], cap_drop: ['ALL'] })
    expect([image, build]).toEqual([
      `${stack.services[name]?.image}-nft`,
      expect.objectContaining({ context: ROOT, args: { NFT: 'yes' } }),
    ])
    expect(rest).toMatchObject({ read_only: true, network_mode: 'host', security_opt: ['no-new-privileges:true'] })
  }
  const others = Object.keys(services).filter((name) => !['spillway', 'check'].includes(name))
  for (const name of others) {
    const { image, user, cap_add } = stack.services[name] as Service
    expect([name, services[name]]).toEqual([name, expect.objectContaining({ image, ...(user && { user }) })])
    expect([name, services[name]?.cap_add]).toEqual([name, cap_add])
  }
  expect(inRoot('Dockerfile')).toContain('ARG NFT=no')
})

test('Prometheus tells the Alertmanager of the stack', () => {
  const { command = [] } = stack.services.alertmanager ?? {}
  const { alerting } = parse(inRoot('deploy/prometheus/prometheus.yml')) as {
    alerting: { alertmanagers: { static_configs: { targets: string[] }[] }[] }
  }
  const [told] = alerting.alertmanagers.flatMap((each) => each.static_configs.flatMap(({ targets }) => targets))
  expect(command).toContain(`--web.listen-address=${told?.replace('localhost', '127.0.0.1')}`)
  const config = command.find((word) => word.startsWith('--config.file='))?.replace(/.*\//, '')
  expect(existsSync(join(ROOT, `deploy/prometheus/${config}`))).toBe(true)
})

describe('Grafana', () => {
  const datasources = parse(inRoot('deploy/grafana/provisioning/datasources/prometheus.yml')) as {
    datasources: { type: string; url: string; isDefault: boolean; jsonData: { timeInterval: string } }[]
  }
  const dashboards = parse(inRoot('deploy/grafana/provisioning/dashboards/spillway.yml')) as {
    providers: { options: { path: string } }[]
  }

  test('asks the Prometheus of the stack, as often as that asks Spillway', () => {
    const [source] = datasources.datasources
    const { command = [] } = stack.services.prometheus ?? {}
    const listen = command.find((word) => word.startsWith('--web.listen-address='))?.split('=')[1]
    expect(source).toMatchObject({ type: 'prometheus', url: `http://${listen}`, isDefault: true })
    const scrape = parse(inRoot('deploy/prometheus/prometheus.yml')) as { global: { scrape_interval: string } }
    expect(source?.jsonData.timeInterval).toBe(scrape.global.scrape_interval)
  })

  test('finds the dashboards, and opens with the flood', () => {
    const { volumes = [], environment = {} } = stack.services.grafana ?? {}
    const place = dashboards.providers[0]?.options.path ?? ''
    expect(volumes).toContain(`${join(ROOT, 'deploy/grafana/dashboards')}:${place}:ro`)
    expect(environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH).toBe(join(place, 'flood.json'))
    expect(existsSync(join(ROOT, 'deploy/grafana/dashboards/flood.json'))).toBe(true)
  })
})
