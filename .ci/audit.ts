/**
 * Asks the registry whether a production dependency has a known vulnerability, and fails if one is high or critical. The tools
 * of development are left out: nobody outside reaches them, and a fix may have to wait for them. A registry that does not answer, or
 * that answers no such question, as a mirror may, fails nothing: CI must not depend on its day.
 */
import { spawnSync } from 'node:child_process'

const BAD = ['high', 'critical'] as const

interface Report {
  readonly metadata?: { readonly vulnerabilities: Readonly<Record<string, number>> }
  readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string; readonly range: string }>>
  readonly message?: string
}

const ARGS = ['audit', '--omit=dev', '--json', '--fetch-retries=0', '--fetch-timeout=20000']
const { stdout } = spawnSync('npm', ARGS, { encoding: 'utf8', timeout: 60_000 })

function parsed(text: string): Report {
  try {
    return JSON.parse(text) as Report
  } catch {
    return {}
  }
}

const { metadata, vulnerabilities = {}, message = 'no answer' } = parsed(stdout ?? '')
if (metadata === undefined) {
  console.log(`audit: not done, for the registry does not answer: ${message}`)
} else {
  const bad = Object.entries(vulnerabilities).filter(([, { severity }]) => BAD.some((each) => each === severity))
  for (const [name, { severity, range }] of bad) console.log(`audit: ${severity}: ${name} ${range}`)
  console.log(
    `audit: ${bad.length} high or critical, ${metadata.vulnerabilities.total ?? 0} in all (npm audit --omit=dev)`,
  )
  if (bad.length > 0) process.exitCode = 1
}
