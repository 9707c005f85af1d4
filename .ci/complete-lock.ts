/**
 * Completes package-lock.json after `npm install` from a registry that lacks the packages of other platforms. npm leaves
 * those packages out of the lockfile, and then `npm ci` of npm 11 refuses it on every machine ("Missing: … from lock
 * file"). Each missing package is entered as optional and for its platform only, with the exact version that its parent
 * names.
 *
 * Run `npm run lock` after every change of dependencies. It does nothing if nothing is missing.
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
