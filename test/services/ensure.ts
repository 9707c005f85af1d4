// Sees to it, before the tests run, that the real servers they need are there: on the machine, or in the project's
// cache, fetched now if need be. Touches nothing on the machine and starts nothing. Where something stays missing it
// says everything in one message and ends with code 1.

import { fetchPackage } from './fetch.ts'
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

if (missing.length > 0) {
  const names = missing.map(([name]) => name).join(' ')
  console.error(`Servers that the tests need are not on this machine and could not be fetched:
${missing.map(([name, why]) => `  ${name}: ${why}`).join('\n')}
Let apt-get reach a Debian or Ubuntu mirror and run this again (nothing is installed then), or install them:
  ${asRoot ? '' : 'sudo '}apt-get update && ${asRoot ? '' : 'sudo '}apt-get install --no-install-recommends ${names}`)
}
if (needRoot.length > 0)
  console.error(`${needRoot.join('; ')}: run the tests as root, for example with \`sudo npm cit\`.`)
if (missing.length + needRoot.length > 0) process.exitCode = 1
