// Unpacks a Debian package, and those of its dependencies that the machine lacks, into the project's cache.
//
// Nothing on the machine is touched: apt resolves in a simulation, downloads into a folder of ours and nothing is
// configured or started. Where the machine's package lists are missing or too old to download from, apt reads new ones
// into the cache, not into /var. A package is unpacked beside its place and renamed into it when it is whole, so that a
// half-done one is never taken for done, and of two runs at once the second one just finds the place taken.

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CACHE, findRoot, STAMP, systemName } from './packages.ts'

/** As root, apt would give its downloads to a user who may not enter the project's folder. */
const APT_OPTIONS = [
  '-q',
  '-o',
  'APT::Sandbox::User=root',
  '-o',
  'Acquire::http::Timeout=20',
  '-o',
  'Acquire::Retries=1',
]

/** Puts a package into the cache. Rejects with an Error whose message is apt's or dpkg's own. */
export async function fetchPackage(name: string): Promise<void> {
  mkdirSync(CACHE, { recursive: true })
  const work = mkdtempSync(join(CACHE, `.${name}-`))
  try {
    const root = join(work, 'root')
    mkdirSync(root)
    const { debs, versions } = await download(name, join(work, 'debs')).catch(async () =>
      download(name, join(work, 'fresh-debs'), await freshLists(work)),
    )
    for (const deb of readdirSync(debs)) await call('dpkg-deb', ['-x', join(debs, deb), root])
    // Nothing in a cache that nobody updates shall let users of the machine become root, as exim4 would.
    await call('chmod', ['-R', 'ug-s', root])
    writeFileSync(join(root, STAMP), `${JSON.stringify({ system: systemName(), packages: versions }, null, 2)}\n`)
    putInPlace(name, root, join(work, 'outdated'))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Downloads what installing the package would install; `versions` has it as `name=version`. */
async function download(name: string, debs: string, options: readonly string[] = []) {
  mkdirSync(debs)
  const simulated = await call('apt-get', [...options, '--simulate', '--no-install-recommends', 'install', name])
  // "Inst postfix (3.7.11-0+deb12u1 Debian:12.15/oldstable [amd64])"; an upgrade has the old version in [] before that.
  const wanted = [...simulated.matchAll(/^Inst (\S+) (?:\[\S+\] )?\((\S+) /gm)].map(
    ([, pkg, version]) => `${pkg}=${version}`,
  )
  // apt counts the package as installed although its commands are not where we look for them.
  if (wanted.length === 0) wanted.push(name)
  await call('apt-get', [...options, 'download', ...wanted], debs)
  return { debs, versions: wanted }
}

/** Reads package lists into a folder of ours, as any user may, and returns the options that make apt use them. */
async function freshLists(folder: string): Promise<string[]> {
  const lists = join(folder, 'lists')
  const cache = join(folder, 'apt')
  for (const path of [lists, cache]) mkdirSync(join(path, 'partial'), { recursive: true })
  const options = ['-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${cache}`]
  await call('apt-get', [...options, '-o', 'APT::Update::Error-Mode=any', 'update'])
  return options
}

function putInPlace(name: string, root: string, outdated: string): void {
  const place = join(CACHE, name)
  try {
    // Something is there that is not good for this system, or the package would not have been fetched.
    if (findRoot(name) === undefined) renameSync(place, outdated)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  try {
    renameSync(root, place)
  } catch (error) {
    if (findRoot(name) === undefined) throw error
  }
}

/** Runs a command to its end; its output. Rejects with what it wrote to stderr, warnings left out. */
async function call(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const options = { cwd, env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 1 << 26 }
  const all = program === 'apt-get' ? [...APT_OPTIONS, ...args] : args
  try {
    return (await promisify(execFile)(program, all, options)).stdout
  } catch (error) {
    const { stderr = '', message, code } = error as { stderr?: string; message: string; code?: string | number }
    if (code === 'ENOENT') throw new Error(`there is no ${program} here; the tests run on Debian and Ubuntu`)
    const told = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('W: '))
    throw new Error(told[0] || message)
  }
}
