/** The program as it is started: its own first line, its options, and what it says when it cannot start. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { expect, test } from '@jest/globals'
import { FLAGS, ROOT, run, SERVE_ENV } from '../support/program.ts'

const text = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')

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
    const { code, output } = await run(['serve'], { env: { ...SERVE_ENV, SPILLWAY_LISTEN: `127.0.0.1:${port}` } })
    expect(code).toBe(1)
    expect(output).toContain('EADDRINUSE')
    expect(output).toContain('"setting":"SPILLWAY_LISTEN"')
    expect(output).toContain('another program listens there already')
    expect(output).toContain(`(pid ${process.pid})`)
  } finally {
    other.close()
  }
})
