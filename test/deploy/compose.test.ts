import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { COMPOSE_FILE, withSettings } from '../../deploy/compose-env.ts'
import { load } from '../../src/config/load.ts'
import { SETTING_NAMES } from '../../src/config/settings.ts'
import { type Compose, composeConfig, seconds } from './compose.ts'
import { inRoot, ROOT } from './image.ts'

const FILE = join(ROOT, 'docker-compose.yml')
const text = readFileSync(COMPOSE_FILE, 'utf8')
const GRACE_S = 720

let compose: Compose
beforeAll(async () => {
  compose = await composeConfig(FILE)
})
const services = () => Object.entries(compose.services)

/** The environment of the spillway service, as its process has it: what is null is not there. */
const environmentOf = ({ services: { spillway } }: Compose): Record<string, string> =>
  Object.fromEntries(
    Object.entries(spillway?.environment ?? {}).filter((entry): entry is [string, string] => entry[1] !== null),
  )

/** Loads settings as the program in the container would, with the files that the stack puts there. */
const loadIn = (env: Record<string, string>, envFile = inRoot('deploy/demo/spillway.env')) => {
  const files: Record<string, string> = {
    '/etc/spillway/spillway.env': envFile,
    '/run/spillway/admin-token': `${'a1'.repeat(24)}\n`,
    '/run/spillway/redis-url': 'redis://default:secret@127.0.0.1:6379/0\n',
  }
  const readFile = (path: string): string => {
    const content = files[path]
    if (content === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' })
    return content
  }
  const openFiles = compose.services.spillway?.ulimits?.nofile?.soft as number
  return load({ env, readFile, hostname: 'mx.example.test', openFiles })
}

test('docker-compose takes it as it is', () => {
  expect(Object.keys(compose.services).sort()).toEqual([
    'grafana',
    'mail',
    'prometheus',
    'redis',
    'secrets',
    'senders',
    'spillway',
  ])
})

test('docker-compose is one that sees mistakes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-compose-'))
  const broken = join(folder, 'docker-compose.yml')
  writeFileSync(broken, text.replaceAll('mem_limit:', 'memory_limit:'))
  await expect(composeConfig(broken)).rejects.toThrow(/memory_limit/)
  rmSync(folder, { recursive: true })
})

describe('the settings in it', () => {
  test('are what the declaration says (npm run compose)', () => {
    expect(withSettings(text)).toBe(text)
  })

  test('are all there, by their own name or by NAME_FILE', () => {
    const names = Object.keys(compose.services.spillway?.environment ?? {}).map((name) => name.replace(/_FILE$/, ''))
    expect(new Set(names)).toEqual(new Set([...SETTING_NAMES, 'SPILLWAY_ENV']))
  })

  test('are no mistake, in the demo', () => {
    const { settings, warnings } = loadIn(environmentOf(compose))
    expect(settings.upstreams.map(({ label }) => label)).toEqual(['127.0.0.1:2526'])
    expect(settings.listen).toEqual([{ host: '127.0.0.1', port: 2525 }])
    expect(settings.adminListen).toEqual({ host: '127.0.0.1', port: 9025 })
    expect(settings.adminToken).toBe('a1'.repeat(24))
    // No certificate in the demo.
    expect(warnings.filter((warning) => !warning.startsWith('STARTTLS'))).toEqual([])
  })

  test('are no mistake with the example of all settings in place of the demo', () => {
    const example = inRoot('.env.example').replace(/^#(?=SPILLWAY_(UPSTREAMS|UPSTREAM_CLIENT_IP)=)/gm, '')
    expect(loadIn(environmentOf(compose), example).settings.listen).toHaveLength(2)
  })

  test('come from .env or the shell, and win over the file', async () => {
    const given = environmentOf(await composeConfig(FILE, { SPILLWAY_LIMIT_IP_CONNECTIONS: '77/1m' }))
    expect(given.SPILLWAY_LIMIT_IP_CONNECTIONS).toBe('77/1m')
    expect(loadIn(given).settings.limitIpConnections).toEqual({ max: 77, windowMs: 60_000 })
  })

  test('keep secrets in files, and none of them in the repository', () => {
    const given = environmentOf(compose)
    expect(given).not.toHaveProperty('SPILLWAY_ADMIN_TOKEN')
    expect(given).not.toHaveProperty('SPILLWAY_REDIS_URL')
    const paths = ['/run/spillway/admin-token', '/run/spillway/redis-url']
    expect([given.SPILLWAY_ADMIN_TOKEN_FILE, given.SPILLWAY_REDIS_URL_FILE]).toEqual(paths)
    expect(compose.services.spillway?.volumes).toContain('spillway-secrets:/run/spillway:ro')
  })

  test('another env file takes the place of the demo', async () => {
    const { services } = await composeConfig(FILE, { STACK_ENV_FILE: '/srv/spillway.env' })
    expect(services.spillway?.volumes).toContain('/srv/spillway.env:/etc/spillway/spillway.env:ro')
  })
})

describe('every service', () => {
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
      const once = name === 'secrets'
      expect([name, service.restart]).toEqual([name, once ? 'no' : 'unless-stopped'])
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
        else expect(Object.keys(compose.volumes)).toContain(source)
      }
    }
  })
})

test('clients have their true addresses: Spillway is on the network of the host', () => {
  expect(compose.services.spillway?.network_mode).toBe('host')
  for (const [, { ports }] of services()) expect(ports).toBeUndefined()
})

test('Spillway may drain as long as a message past its dot may take, wherever it is run', () => {
  const { settings } = loadIn(environmentOf(compose))
  expect(GRACE_S * 1000).toBeGreaterThanOrEqual(settings.upstreamDataTimeout + 60_000)
  expect(seconds(compose.services.spillway?.stop_grace_period ?? '')).toBe(GRACE_S)
  expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^TimeoutStopSec=${GRACE_S}$`, 'm'))
  expect(inRoot('docs/deploy.md')).toContain(`terminationGracePeriodSeconds: ${GRACE_S}`)
})

test('Spillway may open as many files as it takes connections', () => {
  const nofile = compose.services.spillway?.ulimits?.nofile
  expect(nofile?.soft).toBe(nofile?.hard)
  expect(inRoot('deploy/systemd/spillway.service')).toMatch(new RegExp(`^LimitNOFILE=${nofile?.soft}$`, 'm'))
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
    const { command = [] } = compose.services.prometheus ?? {}
    const listen = command.find((word) => word.startsWith('--web.listen-address='))?.split('=')[1]
    expect(source).toMatchObject({ type: 'prometheus', url: `http://${listen}`, isDefault: true })
    const scrape = parse(inRoot('deploy/prometheus/prometheus.yml')) as { global: { scrape_interval: string } }
    expect(source?.jsonData.timeInterval).toBe(scrape.global.scrape_interval)
  })

  test('finds the dashboard, and opens with it', () => {
    const { volumes = [], environment = {} } = compose.services.grafana ?? {}
    const place = environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH
    expect(volumes).toContain(`${join(ROOT, 'deploy/grafana/spillway.json')}:${place}:ro`)
    expect(place).toBe(join(dashboards.providers[0]?.options.path ?? '', 'spillway.json'))
  })
})
