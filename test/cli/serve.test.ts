/** The program as it is started: its own first line, its options, and what it says when it cannot start. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { expect, test } from '@jest/globals'

const ROOT = new URL('../../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
/** What the program's first line hands to Node. */
const FLAGS = /^#!\/usr\/bin\/env -S node (.*)\n/.exec(text('src/main.ts'))?.[1]?.split(' ') ?? []

async function run(args: string[], env: Record<string, string> = {}): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [...FLAGS, 'src/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: '/usr/bin', ...env },
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

test('it is started with the same flags wherever it is started, and Node keeps its hands off our options', () => {
  expect(FLAGS).toEqual(['--max-semi-space-size=8', '--'])
  expect(text('Dockerfile')).toContain('ENTRYPOINT ["node", "--max-semi-space-size=8", "--", "dist/main.js"]')
  expect(text('deploy/systemd/spillway.service')).toContain(
    'node --max-semi-space-size=8 -- /opt/spillway/dist/main.js',
  )
})

test('an env file that is not there is our mistake to tell', async () => {
  const { code, output } = await run(['check', '--env-file', '/nope'])
  expect(code).toBe(78)
  expect(output).toContain('there is no such file')
})

test('without the two required settings it does not start, and says what they are for', async () => {
  const { code, output } = await run([])
  expect(code).toBe(78)
  for (const part of ['SPILLWAY_UPSTREAMS', 'SPILLWAY_UPSTREAM_CLIENT_IP', 'xclient', 'proxy-v2']) {
    expect(output).toContain(part)
  }
})

test('a port that is taken is told with the setting and what to do', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as { port: number }
  try {
    const { code, output } = await run(['serve'], {
      SPILLWAY_UPSTREAMS: '127.0.0.1:1',
      SPILLWAY_UPSTREAM_CLIENT_IP: 'none',
      SPILLWAY_LISTEN: `127.0.0.1:${port}`,
      SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0',
    })
    expect(code).toBe(1)
    expect(output).toContain('EADDRINUSE')
    expect(output).toContain('"setting":"SPILLWAY_LISTEN"')
    expect(output).toContain('ss -ltnp')
  } finally {
    other.close()
  }
})
