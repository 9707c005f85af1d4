/**
 * Builds the Debian package, into dist/: `npm run deb`. It needs dpkg-deb, and no root.
 *
 * The package has its own Node, because Debian's is too old, and the systemd unit of deploy/systemd with the paths of a package. It starts
 * nothing when it is installed: no settings fit everybody's mail servers.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

const ROOT = join(import.meta.dirname, '../..')
const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }
/** Where the program is, in the package. */
const HOME = '/usr/lib/spillway'

/** A unit of deploy/systemd, as it is in the package. */
export function unit(name: 'spillway.service' | 'spillway.socket'): string {
  return readFileSync(join(ROOT, 'deploy/systemd', name), 'utf8')
    .replace(/^# \/etc\/systemd\/system\/[^\n]*\n(#[^\n]*\n)*/, '')
    .replaceAll('file:///opt/spillway/docs/', 'file:///usr/share/doc/spillway/docs/')
    .replaceAll('/usr/bin/node ', `${HOME}/node `)
    .replaceAll('/opt/spillway', HOME)
}

/** @param kilobytes installed */
export const control = (version: string, architecture: string, kilobytes: number): string =>
  `Package: spillway
Version: ${version}
Architecture: ${architecture}
Maintainer: Spillway <spillway@localhost>
Installed-Size: ${kilobytes}
Depends: libc6 (>= 2.28), libstdc++6 (>= 9), libgcc-s1
Recommends: systemd (>= 250)
Suggests: redis-server, prometheus
Section: mail
Priority: optional
Description: SMTP proxy that sheds floods of spam
 Spillway stands in front of mail servers. It turns a flood away early and
 cheaply, and relays everything else live. It stores nothing.
`

export const WRAPPER = `#!/bin/sh
exec ${HOME}/node --max-semi-space-size=8 -- ${HOME}/dist/main.js "$@"
`

/** The settings and the token belong to root; the service gets copies. */
export const POSTINST = `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  chmod 0600 /etc/spillway/spillway.env
  if [ ! -e /etc/spillway/admin-token ]; then
    (umask 077; head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > /etc/spillway/admin-token)
  fi
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # The old one drains, which may take twelve minutes. With spillway.socket no client finds the port closed.
    systemctl --no-block try-restart spillway.service
  fi
  if [ -z "$2" ]; then
    echo "Edit /etc/spillway/spillway.env, try it with 'spillway check --env-file /etc/spillway/spillway.env',"
    echo "and start it with 'systemctl enable --now spillway'."
  fi
fi
`
export const PRERM = `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now spillway.socket spillway.service
fi
`
export const POSTRM = `#!/bin/sh
set -e
if [ "$1" = purge ]; then
  rm -rf /etc/spillway
fi
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
`

/** The manual page and the completions, and where shells look for them. */
export const MANUAL = {
  man: { from: 'docs/man/spillway.1', to: '/usr/share/man/man1/spillway.1.gz' },
  bash: { from: 'docs/completions/spillway.bash', to: '/usr/share/bash-completion/completions/spillway' },
  zsh: { from: 'docs/completions/_spillway', to: '/usr/share/zsh/vendor-completions/_spillway' },
  fish: { from: 'docs/completions/spillway.fish', to: '/usr/share/fish/vendor_completions.d/spillway.fish' },
} as const

/** Puts files where the package has them. @returns the folder */
function stage(work: string): string {
  const root = join(work, 'root')
  const put = (path: string, text: string | Buffer, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text, { mode })
  }
  const copy = (from: string, path: string): void => cpSync(join(ROOT, from), join(root, path), { recursive: true })
  const app = join(root, HOME)
  mkdirSync(app, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(ROOT, file), join(app, file))
  execFileSync('npm', ['ci', '--omit=dev', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: app,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  rmSync(join(app, 'package-lock.json'))
  copy('dist', `${HOME}/dist`)
  cpSync(process.execPath, join(app, 'node'))
  chmodSync(join(app, 'node'), 0o755)
  put('/usr/bin/spillway', WRAPPER, 0o755)
  for (const name of ['spillway.service', 'spillway.socket'] as const)
    put(`/usr/lib/systemd/system/${name}`, unit(name))
  copy('deploy/systemd', '/usr/share/doc/spillway/examples/systemd')
  copy('docs', '/usr/share/doc/spillway/docs')
  put('/etc/spillway/spillway.env', readFileSync(join(ROOT, '.env.example')), 0o600)
  put('/usr/share/doc/spillway/copyright', readFileSync(join(ROOT, 'LICENSE')))
  put('/usr/share/doc/spillway/changelog.gz', gzipSync(readFileSync(join(ROOT, 'CHANGELOG.md')), { level: 9 }))
  const { man, ...completions } = MANUAL
  put(man.to, gzipSync(readFileSync(join(ROOT, man.from)), { level: 9 }))
  for (const { from, to } of Object.values(completions)) put(to, readFileSync(join(ROOT, from)))
  return root
}

/** @returns the path of the package */
function build(): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const architecture = ARCHITECTURES[process.arch]
  if (architecture === undefined) throw new Error(`no package for ${process.arch}: build it on x64 or arm64`)
  if (!existsSync(join(ROOT, 'dist/main.js'))) throw new Error('the program is not built yet: run `npm run build`')
  const work = mkdtempSync(join(tmpdir(), 'spillway-deb-'))
  try {
    const root = stage(work)
    const kilobytes = Number(execFileSync('du', ['-sk', '--apparent-size', root], { encoding: 'utf8' }).split('\t')[0])
    mkdirSync(join(root, 'DEBIAN'))
    const add = (name: string, text: string, mode = 0o644): void =>
      writeFileSync(join(root, 'DEBIAN', name), text, { mode })
    add('control', control(version, architecture, kilobytes))
    add('conffiles', '/etc/spillway/spillway.env\n')
    add('postinst', POSTINST, 0o755)
    add('prerm', PRERM, 0o755)
    add('postrm', POSTRM, 0o755)
    const deb = join(ROOT, 'dist', `spillway_${version}_${architecture}.deb`)
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '-z4', '--build', root, deb], { stdio: 'inherit' })
    return deb
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

if (import.meta.main) console.log(build())
