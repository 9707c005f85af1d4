// A mount namespace for a server of a test: what Debian compiled into it (accounts, folders below /etc, /run and /var)
// is put in its place for this one process and its children, and for nobody else on the machine.
//
// `unshare --mount` gives the process a view of its own, in which files and folders of the instance are bind-mounted over
// those of the machine; nothing is written there, and the view is gone when its last process is. See mount_namespaces(7).

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command } from './packages.ts'

export interface NamespaceOptions {
  /** The command that shall run in it, as packages.ts knows it. */
  readonly command: string
  /** The instance's folder: files that the namespace needs are made in it. */
  readonly directory: string
  /** Accounts, each with a group of its own name, that it finds beside those of the machine. */
  readonly accounts: readonly string[]
  /** Folders of the instance by those of the machine that they hide. */
  readonly folders?: Readonly<Record<string, string>>
}

export interface Namespace {
  /** The words that run a command in it when they are put before it. */
  readonly enter: readonly string[]
  /** The root under which any account in it finds the command's package. */
  readonly root: string
  /** uid, and gid too, of the accounts. */
  readonly ids: Readonly<Record<string, number>>
}

/** Debian gives uids from 60000 to 64999 to packages that ask for them; few do. */
const FIRST_ID = 64_300

const MOUNT_AND_RUN = 'while [ "$1" != -- ]; do mount -n --bind "$1" "$2"; shift 2; done; shift; exec "$@"'

export function makeNamespace({ command: name, directory, accounts, folders = {} }: NamespaceOptions): Namespace {
  const etc = join(directory, 'etc')
  mkdirSync(etc, { mode: 0o755 })
  const ids: Record<string, number> = {}
  let passwd = readFileSync('/etc/passwd', 'utf8')
  let group = readFileSync('/etc/group', 'utf8')
  const idIn = (text: string, account: string) => {
    const found = new RegExp(`^${account}:[^:]*:(\\d+):`, 'm').exec(text)?.[1]
    return found === undefined ? undefined : Number(found)
  }
  const free = () => {
    let id = FIRST_ID
    while (new RegExp(`^[^:]*:[^:]*:${id}:`, 'm').test(passwd + group)) id++
    return id
  }
  for (const account of accounts) {
    const gid = idIn(group, account) ?? free()
    if (idIn(group, account) === undefined) group += `${account}:x:${gid}:\n`
    if (idIn(passwd, account) === undefined) passwd += `${account}:x:${gid}:${gid}::/nonexistent:/usr/sbin/nologin\n`
    ids[account] = idIn(passwd, account) as number
  }
  // Whoever asks the DNS asks a port where nobody listens, and is told so at once.
  const files = { passwd, group, 'resolv.conf': 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' }
  const binds: string[] = []
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(join(etc, file), text, { mode: 0o644 })
    if (existsSync(join('/etc', file))) binds.push(join(etc, file), join('/etc', file))
  }
  for (const [there, own] of Object.entries(folders)) binds.push(own, there)
  // The project may lie where only root may go, such as below /root.
  const packed = command(name).root
  const root = packed === '/' ? '/' : join(directory, 'package')
  if (root !== '/') {
    mkdirSync(root)
    binds.push(packed, root)
  }
  return { enter: [...UNSHARE, '/bin/sh', '-ec', MOUNT_AND_RUN, 'sh', ...binds, '--'], root, ids }
}

const UNSHARE = ['unshare', '--mount', '--propagation', 'private']

/** Why no mount namespace can be made here; undefined where one can. */
export function whyNoNamespace(): string | undefined {
  const { status, stderr, error } = spawnSync(UNSHARE[0] as string, [...UNSHARE.slice(1), '/bin/true'], {
    encoding: 'utf8',
  })
  if (status === 0) return undefined
  return `this process may not make a mount namespace (${error?.message ?? stderr.trim()}); in a container it takes CAP_SYS_ADMIN`
}
