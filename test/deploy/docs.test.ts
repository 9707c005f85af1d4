/** What README.md and docs/deploy tell an operator to type, as far as it can be tried without a container engine. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { type Loaded, load } from '../../src/config/load.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { CERT, KEY } from '../config/pem.ts'
import { inRoot, ROOT, stages } from './image.ts'

const DOCS = [
  ...['README.md', 'docs/commands.md', 'docker-compose.yml', 'deploy/check.mjs'],
  ...globSync(['docs/deploy/*.md', 'docs/runbooks/*.md'], { cwd: ROOT }),
]
const DEPLOY = inRoot('docs/deploy/one-box.md')

/** The lines of the code block that has this one, without what is remarked behind them. */
function blockWith(line: string): string[] {
  const block = DEPLOY.split('\n\n').find((part) => part.includes(`    ${line}`))
  if (block === undefined) throw new Error(`docs/deploy/one-box.md has no block with ${line}`)
  return block.split('\n').map((each) => each.replace(/ +#.*$/, '').trim())
}

describe('every docker compose command', () => {
  const commands = DOCS.flatMap((path) =>
    [
      ...inRoot(path).matchAll(
        /docker compose (?:-f (\S+) )?(?:-f (\S+) )?((?:--profile \S+ )*)(up|down|run|exec|logs|restart)\b([^`&\n]*)/g,
      ),
    ].map(([text, file = 'docker-compose.yml', over = file, profiles = '', verb = '', rest = '']) => ({
      ...{
        text,
        path,
        file,
        over,
        verb,
        rest,
        profiles: [...profiles.matchAll(/--profile (\S+)/g)].map(([, name]) => name),
      },
    })),
  )

  test('is of a file that is there, and of services that it has', () => {
    expect(commands.length).toBeGreaterThan(10)
    for (const { text, path, file, over, verb, rest } of commands) {
      expect([path, text, existsSync(join(ROOT, over))]).toEqual([path, text, true])
      expect([path, text, existsSync(join(ROOT, file))]).toEqual([path, text, true])
      if (verb === 'up' || verb === 'down') continue
      const { services } = parse(inRoot(file)) as { services: Record<string, unknown> }
      const words = rest.replace(/--entrypoint \S+/, '').split(/[ ,;)]+/)
      const named = words.find((word) => /^[a-z]+$/.test(word))
      expect([path, text, Object.keys(services)]).toEqual([path, text, expect.arrayContaining([named])])
    }
  })

  test('names profiles that there are, and README and docs start the demo', () => {
    const { services } = parse(inRoot('docker-compose.yml')) as { services: Record<string, { profiles?: string[] }> }
    const known = Object.values(services).flatMap(({ profiles = [] }) => profiles)
    for (const { profiles } of commands) expect(known).toEqual(expect.arrayContaining(profiles))
    const demos = commands.filter(({ verb, profiles }) => verb === 'up' && profiles.includes('demo'))
    expect(demos.map(({ path }) => path)).toEqual(expect.arrayContaining(['README.md', 'docs/deploy/README.md']))
  })
})

/** As GitHub makes it of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

test('every link of a page to another one leads to a page and a heading that are there', () => {
  const pages = globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT })
  expect(pages.length).toBeGreaterThan(60)
  const dead: string[] = []
  for (const page of pages) {
    const text = inRoot(page).replace(/```[\s\S]*?```/g, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const to = path === '' ? page : join(dirname(page), path)
      if (!existsSync(join(ROOT, to))) dead.push(`${page}: ${target}`)
      else if (anchor !== undefined && to.endsWith('.md')) {
        const headings = [...inRoot(to).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading))
        if (!headings.includes(anchor)) dead.push(`${page}: ${target}`)
      }
    }
  }
  expect(dead).toEqual([])
})

test('nothing hands the env file to a reader other than Spillway', () => {
  const paths = globSync(
    ['docker-compose.yml', 'Dockerfile', 'deploy/**/*.{yml,service,mjs}', 'docs/deploy/*.md', 'README.md'],
    {
      cwd: ROOT,
    },
  )
  expect(paths.length).toBeGreaterThan(10)
  for (const path of paths) {
    expect([path, inRoot(path)]).toEqual([path, expect.not.stringMatching(/^\s*env_file:|^EnvironmentFile=/m)])
    // Spillway's own --env-file comes after its name, docker's before that of the image.
    for (const [command] of inRoot(path).matchAll(/docker run(?:[^\n]*\\\n)*[^\n]*/g)) {
      if (!command.includes('`')) expect([path, command]).toEqual([path, expect.not.stringContaining('--env-file')])
    }
  }
})

describe('the folders and rights for a container', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-rights-'))
    chmodSync(folder, 0o755)
    const live = join(folder, 'letsencrypt/live/mx1.example.net')
    mkdirSync(live, { recursive: true })
    writeFileSync(join(live, 'fullchain.pem'), CERT, { mode: 0o600 })
    writeFileSync(join(live, 'privkey.pem'), KEY, { mode: 0o600 })
    cpSync(join(ROOT, '.env.example'), join(folder, '.env.example'))
    const here = (line: string): string => line.replaceAll('/etc/', `${folder}/`)
    const lines = [
      ...blockWith('install -d -m 0700 /etc/spillway').filter((line) => !line.startsWith('docker')),
      ...blockWith('install -d /etc/spillway/tls'),
    ]
    expect(lines.filter((line) => line.startsWith('install'))).toHaveLength(5)
    for (const line of lines) execFileSync('sh', ['-ec', here(line)], { cwd: folder })
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  /** Loads the settings with the rights of another user; the mistakes where there are some. */
  function loadAs(uid: number): Loaded | readonly string[] {
    const within = (path: string): string => join(folder, 'spillway', path)
    const env = {
      SPILLWAY_UPSTREAMS: 'mail1.example.net:25',
      SPILLWAY_UPSTREAM_CLIENT_IP: 'xclient',
      SPILLWAY_ENV_FILE: within('spillway.env'),
      SPILLWAY_TLS_CERT: within('tls/fullchain.pem'),
      SPILLWAY_TLS_KEY: within('tls/privkey.pem'),
    }
    process.setegid?.(uid)
    process.seteuid?.(uid)
    try {
      return load({ env, readFile: (path) => readFileSync(path, 'utf8'), hostname: 'mx1', openFiles: 65_536 })
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      return error.mistakes.map(({ name, expected }) => `${name}: ${expected.replace(/.*; /, '')}`)
    } finally {
      process.seteuid?.(0)
      process.setegid?.(0)
    }
  }

  const [, image = 0] = /^USER (\d+):\1$/m.exec(stages().at(-1)?.lines.join('\n') ?? '') ?? []

  test('keep the host’s user of that number out', () => {
    expect(loadAs(Number(image))).toEqual(
      ['SPILLWAY_ENV_FILE', 'SPILLWAY_TLS_CERT', 'SPILLWAY_TLS_KEY'].map(
        (name) => `${name}: this user may not read it`,
      ),
    )
  })

  test('let the user of the image read its settings, certificate and key, which are mounted without the folder above', () => {
    chmodSync(join(folder, 'spillway'), 0o755)
    try {
      expect(loadAs(Number(image))).toHaveProperty('settings.tlsKey', [join(folder, 'spillway/tls/privkey.pem')])
      // Anybody else reads the certificate only.
      expect(loadAs(1001)).toEqual([
        'SPILLWAY_ENV_FILE: this user may not read it',
        'SPILLWAY_TLS_KEY: this user may not read it',
      ])
    } finally {
      chmodSync(join(folder, 'spillway'), 0o700)
    }
  })

  test('are what .env then tells Compose', () => {
    expect(readFileSync(join(folder, '.env'), 'utf8').replaceAll(folder, '/etc').split('\n')).toEqual([
      'STACK_ENV_FILE=/etc/spillway/spillway.env',
      'STACK_TLS_DIR=/etc/spillway/tls',
      '',
    ])
  })
})
