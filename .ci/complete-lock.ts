/**
 * Completes package-lock.json after `npm install` from a registry that does not carry the packages of other platforms:
 * npm leaves those out of the lockfile, and npm 11's `npm ci` then refuses it ("Missing: … from lock file"), there and
 * everywhere. Each is entered as optional and for its platform only, with the exact version that its parent names.
 *
 * `npm run lock`, after every change of dependencies; it does nothing where nothing is missing.
 */
import { readFileSync, writeFileSync } from 'node:fs'

interface Entry {
  readonly version?: string
  readonly dev?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
}
const FILE = 'package-lock.json'
const PLATFORM = /-(android|darwin|win32|freebsd|linux|openharmony)-([a-z0-9]+)/

const lock = JSON.parse(readFileSync(FILE, 'utf8')) as { packages: Record<string, Entry> }
let added = 0
for (const parent of Object.values({ ...lock.packages })) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`
    const [, os, cpu] = PLATFORM.exec(name) ?? []
    if (lock.packages[key] !== undefined || os === undefined || cpu === undefined) continue
    if (!/^\d/.test(version)) throw new Error(`${name}: ${version} is no exact version; enter it by hand`)
    const libc = /musl/.test(name) ? { libc: ['musl'] } : /linux.*gnu/.test(name) ? { libc: ['glibc'] } : {}
    const entry = { version, cpu: [cpu], ...(parent.dev === true && { dev: true }), ...libc, optional: true, os: [os] }
    lock.packages[key] = entry
    added++
  }
}
const order = (a: string, b: string): number => (a === '' ? -1 : b === '' ? 1 : a < b ? -1 : 1)
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => order(a, b)))
if (added > 0) writeFileSync(FILE, `${JSON.stringify(lock, null, 2)}\n`)
console.log(added === 0 ? `${FILE} is complete` : `${FILE}: ${added} packages of other platforms entered`)
