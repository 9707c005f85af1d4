// Sees to it, before the tests run, that the real servers they need are there: on the machine, or in the project's
// cache, fetched now if need be. Touches nothing on the machine and starts nothing. Where something stays missing it
// says everything in one message and ends with code 1.

import { fetchPackage } from './fetch.ts'
import { whyNoNamespace } from './namespace.ts'
import { findRoot, PACKAGES } from './packages.ts'

const missing: [name: string, why: string][] = []
for (const name of Object.keys(PACKAGES)) {
  if (findRoot(name) !== undefined) continue
  const started = performance.now()
  try {
    await fetchPackage(name)
    if (findRoot(name) === undefined) throw new Error('its Debian package has not the commands the tests run')
    console.log(`${name}: fetched for the tests in ${((performance.now() - started) / 1000).toFixed(1)} s`)
  } catch (error) {
    missing.push([name, (error as Error).message])
  }
}

const asRoot = process.getuid?.() === 0
const needRoot = asRoot ? [] : Object.values(PACKAGES).flatMap(({ root }) => root ?? [])
const noNamespace = asRoot ? whyNoNamespace() : undefined

if (missing.length > 0) {
  // Debian's mail servers exclude each other: of those only the first can be had so.
  const [, ...others] = missing.filter(([name]) => PACKAGES[name]?.mta)
  const names = missing.filter((one) => !others.includes(one)).map(([name]) => name)
  const instead = `(but for ${others.map(([name]) => name).join(', ')}: of the mail servers Debian installs only one)`
  console.error(`Servers that the tests need are not on this machine and could not be fetched:
${missing.map(([name, why]) => `  ${name}: ${why}`).join('\n')}
Let apt-get reach a Debian or Ubuntu mirror and run this again (nothing is installed then), or install them${others.length > 0 ? ` ${instead}` : ''}:
  ${asRoot ? '' : 'sudo '}apt-get update && ${asRoot ? '' : 'sudo '}apt-get install --no-install-recommends ${names.join(' ')}`)
}
if (needRoot.length > 0)
  console.error(`${needRoot.join('; ')}: run the tests as root, for example with \`sudo npm cit\`.`)
if (noNamespace !== undefined) console.error(`Exim and OpenSMTPD cannot be run here: ${noNamespace}.`)
if (missing.length + needRoot.length > 0 || noNamespace !== undefined) process.exitCode = 1
