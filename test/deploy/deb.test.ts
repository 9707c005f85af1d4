/** What the Debian package is made of. `npm run deb:try` installs it on a clean Debian, which takes minutes. */
import { spawnSync } from 'node:child_process'
import { expect, test } from '@jest/globals'
import { control, MANUAL, POSTINST, POSTRM, PRERM, unit, WRAPPER } from '../../deploy/deb/build.ts'
import { inRoot } from './image.ts'

test('the units lead to the program in the package, and are otherwise those of deploy/systemd', () => {
  const service = unit('spillway.service')
  expect(service).toMatch(/^\[Unit\]/)
  expect(service).toContain(
    '\nExecStart=/usr/lib/spillway/node --max-semi-space-size=8 -- /usr/lib/spillway/dist/main.js serve\n',
  )
  expect(service).toContain('\nDocumentation=file:///usr/share/doc/spillway/docs/deploy/one-box.md\n')
  for (const text of [service, unit('spillway.socket')]) expect(text).not.toMatch(/\/opt\/|\/usr\/bin\/node/)
  const count = (text: string): number => text.match(/^[A-Z][A-Za-z]+=/gm)?.length ?? 0
  expect(count(service)).toBe(count(inRoot('deploy/systemd/spillway.service')))
})

test.each([
  ['the command', WRAPPER],
  ['postinst', POSTINST],
  ['prerm', PRERM],
  ['postrm', POSTRM],
])('%s is a script that a shell can read', (_, script) => {
  const { status, stderr } = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' })
  expect([status, stderr]).toEqual([0, ''])
})

test('the control file has the fields that dpkg requires, and a description in its form', () => {
  const text = control('1.2.3', 'amd64', 1000)
  for (const field of ['Package: spillway', 'Version: 1.2.3', 'Architecture: amd64', 'Installed-Size: 1000']) {
    expect(text).toContain(`${field}\n`)
  }
  expect(text).toMatch(/\nMaintainer: [^<]+ <[^>]+>\n/)
  expect(text).toMatch(/\nDescription: .{10,60}\n( .+\n)+$/)
})

test('the manual page and the completions are there', () => {
  for (const { from } of Object.values(MANUAL)) expect(inRoot(from).length).toBeGreaterThan(100)
})

test('what postinst makes is a token that the settings take', () => {
  const line = /\(umask 077; (.*?) > \/etc\/spillway\/admin-token\)/.exec(POSTINST)?.[1] as string
  expect(spawnSync('sh', ['-c', line], { encoding: 'utf8' }).stdout).toMatch(/^[0-9a-f]{48}$/)
})
