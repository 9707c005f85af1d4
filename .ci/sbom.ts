/**
 * Prints what is in the program: its production dependencies as CycloneDX, from the lockfile alone. `npm sbom --omit=dev` would
 * leave out each package that a tool of development uses as well, in whatever version. So this asks for all, and leaves out what
 * the lockfile has for development only. Node itself is not in it.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

interface Component {
  readonly 'bom-ref': string
}
interface Sbom {
  readonly metadata: { readonly component: Component & { readonly name: string } }
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}
interface Lock {
  readonly packages: Readonly<
    Record<string, { version: string; dev?: boolean; devOptional?: boolean; optional?: boolean }>
  >
}

const ALL = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only']
const sbom = JSON.parse(execFileSync('npm', ALL, { encoding: 'utf8', maxBuffer: 64 << 20 })) as Sbom
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock
const { name } = JSON.parse(readFileSync('package.json', 'utf8')) as { name: string }

const inProgram = new Set(
  Object.entries(packages)
    .filter(([, { dev, devOptional, optional }]) => !dev && !devOptional && !optional)
    .map(([place, { version }]) => `${place.replace(/.*node_modules\//, '')}@${version}`),
)

const components = sbom.components.filter((each) => inProgram.has(each['bom-ref']))
const known = new Set([sbom.metadata.component['bom-ref'], ...components.map((each) => each['bom-ref'])])
const dependencies = sbom.dependencies
  .filter(({ ref }) => known.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => known.has(each)) }))
// npm names it after the folder.
const component = { ...sbom.metadata.component, name }
const result = { ...sbom, metadata: { ...sbom.metadata, component }, components, dependencies }
process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
