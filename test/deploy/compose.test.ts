import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { withSettings, withShared } from '../../deploy/compose.ts'
import { load } from '../../src/config/load.ts'
import { isSetting, SETTING_NAMES } from '../../src/config/settings.ts'
import { CERT, KEY } from '../config/pem.ts'
import { type Compose, composeConfig, DEMO_FILE, STACK_FILE, seconds } from './compose.ts'
import { inRoot, ROOT } from './image.ts'

const stackText = readFileSync(STACK_FILE, 'utf8')
const demoText = readFileSync(DEMO_FILE, 'utf8')
const GRACE_S = 720
const ENV_FILE = '/srv/spillway.env'

let folder: string
let stack: Compose
let demo: Compose
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-compose-'))
  stack = await composeConfig(STACK_FILE, { STACK_ENV_FILE: ENV_FILE })
  demo = await composeConfig(DEMO_FILE)
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
  writeFileSync(broken, demoText.replaceAll('mem_limit:', 'memory_limit:'))
  await expect(composeConfig(broken)).rejects.toThrow(/memory_limit/)
})

describe('the stack without settings', () => {
  test.each([{ SPILLWAY_UPSTREAMS: 'mail1:25' }, { STACK_ENV_FILE: '' }])(
    'does not start, and says what to do: %j',
    async (env) => {
      await expect(composeConfig(STACK_FILE, env)).rejects.toThrow(
        'copy .env.example to spillway.env, edit it, and write STACK_ENV_FILE=./spillway.env into the file .env beside ' +
          'docker-compose.yml',
      )
    },
  )

  test('finds them in .env, in every later shell', async () => {
    const { secrets } = await composeConfig(STACK_FILE, {}, 'STACK_ENV_FILE=./spillway.env\n')
    expect(secrets?.settings?.file).toBe(join(ROOT, 'spillway.env'))
  })

  test('has nothing of the demo, whatever is set', () => {
    expect(Object.keys(stack.services).sort()).toEqual([
      'alertmanager',
      'check',
      'grafana',
      'prometheus',
      'redis',
      'secrets',
      'spillway',
    ])
    expect(JSON.stringify(stack)).not.toMatch(/deploy\/demo|2526|example\.test/)
  })
})

describe('the demo', () => {
  test('is a stack of its own, in a folder of its own: it shares no container and no volume with the other', () => {
    // The project is called after the folder; a name that is set would join the two.
    expect(Object.keys(demo.services).sort()).toEqual([
      'alertmanager',
      'grafana',
      'mail',
      'prometheus',
      'redis',
      'secrets',
      'senders',
      'spillway',
    ])
    expect(demoText).not.toMatch(/^name:|container_name|external:/m)
    expect(stackText).not.toMatch(/^name:|container_name|external:/m)
  })

  test('is changed by nothing that the shell or .env has', async () => {
    const env = { STACK_ENV_FILE: ENV_FILE, SPILLWAY_UPSTREAMS: 'mail1:25', SPILLWAY_LISTEN: '0.0.0.0:25' }
    expect(await composeConfig(DEMO_FILE, env)).toEqual(demo)
  })

  test('has settings without a mistake, and listens on loopback only', () => {
    const { settings, warnings } = loadIn(demo, DEMO_SETTINGS)
    expect(demo.services.spillway?.volumes).toContain(
      `${join(ROOT, 'deploy/demo/spillway.env')}:${environmentOf(demo).SPILLWAY_ENV_FILE}:ro`,
    )
    expect(settings.upstreams.map(({ label }) => label)).toEqual(['127.0.0.1:2526'])
    expect(settings.listen).toEqual([{ host: '127.0.0.1', port: 2525 }])
    expect(settings.adminListen).toEqual({ host: '127.0.0.1', port: 9025 })
    expect(settings.adminToken).toBe('a1'.repeat(24))
    // No certificate in the demo.
    expect(warnings.filter((warning) => !warning.startsWith('STARTTLS'))).toEqual([])
  })

  test('has what both have as docker-compose.yml says it (npm run compose)', () => {
    expect(withShared(demoText, stackText)).toBe(demoText)
    for (const name of ['redis', 'prometheus', 'alertmanager', 'grafana', 'secrets']) {
      expect(demo.services[name]).toEqual(stack.services[name])
    }
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
    expect(check?.command).toEqual(['check'])
    for (const part of ['image', 'entrypoint', 'environment', 'secrets', 'volumes', 'ulimits', 'user'] as const) {
      expect([part, check?.[part]]).toEqual([part, spillway?.[part]])
    }
    // An unedited copy of the example has nothing that is required.
    expect(() => loadIn(stack, inRoot('.env.example'))).toThrow(/SPILLWAY_UPSTREAMS[\s\S]*SPILLWAY_UPSTREAM_CLIENT_IP/)
  })

  test('keep secrets in files, none of them in the repository, and each where it is needed', () => {
    for (const compose of [stack, demo]) {
      const given = environmentOf(compose)
      expect(given).not.toHaveProperty('SPILLWAY_ADMIN_TOKEN')
      expect(given).not.toHaveProperty('SPILLWAY_REDIS_URL')
      const paths = ['/run/spillway/admin-token', '/run/spillway/redis-url']
      expect([given.SPILLWAY_ADMIN_TOKEN_FILE, given.SPILLWAY_REDIS_URL_FILE]).toEqual(paths)
      const seenBy = (volume: string): string[] =>
        Object.entries(compose.services)
          .filter(([, { volumes = [] }]) => volumes.some((mount) => mount.startsWith(`${volume}:`)))
          .map(([name]) => name)
          .sort()
      const spillway = compose === stack ? ['check', 'secrets', 'spillway'] : ['secrets', 'spillway']
      expect(seenBy('spillway-secrets')).toEqual(spillway)
      expect(seenBy('redis-secrets')).toEqual(['redis', 'secrets'])
      expect(seenBy('grafana-secrets')).toEqual(['grafana', 'secrets'])
      expect(compose.services.spillway?.volumes).toContain('spillway-secrets:/run/spillway:ro')
    }
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

describe.each([
  ['stack', () => stack, stackText],
  ['demo', () => demo, demoText],
] as const)('every service of the %s', (which, compose, text) => {
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
    expect(text).not.toContain('latest')
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
    const { settings } = loadIn(compose(), which === 'demo' ? DEMO_SETTINGS : EXAMPLE)
    expect(GRACE_S * 1000).toBeGreaterThanOrEqual(settings.upstreamDataTimeout + 60_000)
    expect(seconds(compose().services.spillway?.stop_grace_period ?? '')).toBe(GRACE_S)
    expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^TimeoutStopSec=${GRACE_S}$`, 'm'))
    expect(inRoot('docs/deploy.md')).toContain(`terminationGracePeriodSeconds: ${GRACE_S}`)
    expect(inRoot('docs/deploy.md')).toContain(`--stop-timeout ${GRACE_S}`)
  })

  test('has as many open files as it takes connections', () => {
    const nofile = compose().services.spillway?.ulimits?.nofile
    expect(nofile?.soft).toBe(nofile?.hard)
    expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^LimitNOFILE=${nofile?.soft}$`, 'm'))
  })
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
