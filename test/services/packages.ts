// The real servers and mail tools that tests run, each named by its Debian package, and where they are found.
//
// What is installed on the machine is used as it is (its binaries only, never its configuration or its data). What is
// not installed lies unpacked in the project's cache, together with those of its dependencies that the machine lacks,
// so that an MTA that is there is never replaced and nothing is ever started but by a test: Debian's MTAs exclude each
// other and packages start their service when they are installed. `ensure.ts` fills the cache.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Package {
  /** The commands tests run, by the name `command()` knows them under, as paths in the package. */
  readonly commands: Readonly<Record<string, string>>
  /** A file that other packages with the same commands have not. */
  readonly mark?: string
  /** A mail transport agent: Debian lets only one of them be installed. */
  readonly mta?: true
  /** Why it must be started by root, where it must. */
  readonly root?: string
}

/** To run another server in tests, add its Debian package here. */
export const PACKAGES: Readonly<Record<string, Package>> = {
  postfix: {
    commands: {
      master: 'usr/lib/postfix/sbin/master',
      postconf: 'usr/sbin/postconf',
      postmap: 'usr/sbin/postmap',
      postsuper: 'usr/sbin/postsuper',
      postqueue: 'usr/sbin/postqueue',
      'smtp-sink': 'usr/sbin/smtp-sink',
      'smtp-source': 'usr/sbin/smtp-source',
    },
    mta: true,
    root: 'Postfix is started by root only',
  },
  // The one that knows the PROXY protocol; exim4-daemon-light does not.
  'exim4-daemon-heavy': {
    commands: { exim: 'usr/sbin/exim4' },
    mark: 'usr/share/doc/exim4-daemon-heavy/copyright',
    mta: true,
    root: 'Exim is started by root only',
  },
  opensmtpd: { commands: { smtpd: 'usr/sbin/smtpd' }, mta: true, root: 'OpenSMTPD is started by root only' },
  'docker-compose': { commands: { 'docker-compose': 'usr/bin/docker-compose' } },
  systemd: {
    commands: {
      'systemd-analyze': 'usr/bin/systemd-analyze',
      'systemd-notify': 'usr/bin/systemd-notify',
      'systemd-socket-activate': 'usr/bin/systemd-socket-activate',
    },
  },
  prometheus: { commands: { prometheus: 'usr/bin/prometheus', promtool: 'usr/bin/promtool' } },
  'prometheus-alertmanager': {
    commands: { 'prometheus-alertmanager': 'usr/bin/prometheus-alertmanager', amtool: 'usr/bin/amtool' },
  },
  // The program itself: the command of that name is a script that knows only its own place.
  chromium: { commands: { chromium: 'usr/lib/chromium/chromium' } },
  python3: { commands: { python3: 'usr/bin/python3' } },
  haproxy: { commands: { haproxy: 'usr/sbin/haproxy' } },
  nftables: { commands: { nft: 'usr/sbin/nft' } },
  swaks: { commands: { swaks: 'usr/bin/swaks' } },
  unbound: { commands: { unbound: 'usr/sbin/unbound' } },
  'redis-server': { commands: { 'redis-server': 'usr/bin/redis-server', 'redis-cli': 'usr/bin/redis-cli' } },
}

export const CACHE = join(import.meta.dirname, '../../.cache/services')
/** Written last into an unpacked package: which system it was unpacked for, and what it was unpacked from. */
export const STAMP = 'unpacked.json'

/** The root below which all commands of a package are: `/`, its folder in the cache, or undefined for neither. */
export function findRoot(name: string): string | undefined {
  const { commands, mark } = PACKAGES[name] ?? { commands: {} }
  const files = [...Object.values(commands), ...(mark === undefined ? [] : [mark])]
  const complete = (root: string) => files.every((path) => existsSync(join(root, path)))
  if (complete('/')) return '/'
  const cached = join(CACHE, name)
  return unpackedFor(cached) === systemName() && complete(cached) ? cached : undefined
}

/** What a package unpacked here is good for: libraries of one release do not serve another. */
export function systemName(): string {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  const field = (key: string) => new RegExp(`^${key}="?([^"\n]*)`, 'm').exec(release)?.[1] ?? ''
  return [field('ID') || process.platform, field('VERSION_ID'), process.arch].filter(Boolean).join(' ')
}

function unpackedFor(folder: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(join(folder, STAMP), 'utf8')) as { system?: string }).system
  } catch {
    return undefined
  }
}

export interface Command {
  readonly path: string
  /** To be added to the environment: where a package in the cache has its shared libraries, Perl and Python modules. */
  readonly env: Readonly<Record<string, string>>
  /** The root its package lies under. */
  readonly root: string
}

/**
 * Finds a command of one of the packages, e.g. `swaks` or `smtp-source`. Throws an Error that says what to run.
 * `under`: another root under which the command will find its package when it runs.
 */
export function command(name: string, under?: string): Command {
  for (const [pkg, { commands }] of Object.entries(PACKAGES)) {
    const path = commands[name]
    if (path === undefined) continue
    const root = findRoot(pkg)
    if (root === undefined) throw new Error(`${name} is not there yet: run \`node test/services/ensure.ts\``)
    const seen = root === '/' ? root : (under ?? root)
    return { path: join(seen, path), env: root === '/' ? {} : searchPaths(root, seen), root }
  }
  throw new Error(`no package in test/services/packages.ts has the command ${name}`)
}

function searchPaths(root: string, seen: string): Record<string, string> {
  const folders = (...patterns: string[]) => globSync(patterns, { cwd: root }).map((folder) => join(seen, folder))
  const libraries = folders(
    'usr/lib',
    'usr/lib/postfix',
    'usr/lib/*-linux-gnu*',
    'lib/*-linux-gnu*',
    '{usr/,}lib/*-linux-gnu*/systemd',
    '{usr/,}lib/systemd',
  )
  const perl = folders('usr/share/perl5', 'usr/share/perl/5*', 'usr/lib/*/perl5/5*', 'usr/lib/*/perl/5*')
  const python = folders('usr/lib/python3/dist-packages')
  return { LD_LIBRARY_PATH: libraries.join(':'), PERL5LIB: perl.join(':'), PYTHONPATH: python.join(':') }
}
