import { expect, test } from '@jest/globals'
import { check } from '../../src/cli/check.ts'
import { SETTING_NAMES } from '../../src/config/settings.ts'
import { failure, loadWith, machine } from '../config/given.ts'

const TOKEN = '0123456789abcdef0123'
const text = { json: false }
const json = { json: true }

test('every setting with its value and where it came from', () => {
  const shown = check(loadWith({ SPILLWAY_IDLE_TIMEOUT: '90s' }), text)
  for (const name of SETTING_NAMES) expect(shown).toContain(`  ${name} `)
  expect(shown).toMatch(/SPILLWAY_IDLE_TIMEOUT +90s +environment/)
  expect(shown).toMatch(/SPILLWAY_SHUTDOWN_TIMEOUT +60s +default/)
  expect(shown).toContain('The settings are right.')
})

test('a secret is masked, in both forms', () => {
  const loaded = loadWith({ SPILLWAY_ADMIN_TOKEN: TOKEN })
  expect(check(loaded, text)).toMatch(/SPILLWAY_ADMIN_TOKEN +\(hidden\) +environment/)
  expect(check(loaded, text) + check(loaded, json)).not.toContain(TOKEN)
  expect(check(loadWith({}), text)).toMatch(/SPILLWAY_ADMIN_TOKEN +none +default/)
})

test('warnings are told', () => {
  expect(check(loadWith({}), text)).toContain('- STARTTLS is not offered')
})

test('a long list is told by its beginning and its length', () => {
  const deny = Array.from({ length: 200 }, (_, i) => `192.0.2.${i}`).join(',')
  expect(check(loadWith({ SPILLWAY_DENY: deny }), text)).toContain('192.0.2.7/32,… (200 entries)')
})

test('words for refusals have a line each, with their commas', () => {
  const reasons = ['denied', 'banned', 'size', 'dnsbl', 'overload', 'rcpt_domain', 'ip_messages', 'pregreet', 'helo']
  const given = reasons.map((reason) => `${reason}=Sorry, no, never: ${reason}`)
  const loaded = loadWith({ SPILLWAY_REPLY_TEXT: '@/replies' }, { '/replies': given.join('\n') })
  const lines = check(loaded, text).split('\n')
  const first = lines.findIndex((line) => line.startsWith('  SPILLWAY_REPLY_TEXT '))
  expect(lines[first]).toMatch(/SPILLWAY_REPLY_TEXT +denied=Sorry, no, never: denied +environment$/)
  expect(lines.slice(first + 1, first + given.length).map((line) => line.trim())).toEqual(given.slice(1))
  expect(JSON.parse(check(loaded, json)).settings.SPILLWAY_REPLY_TEXT.value).toBe(given.join('\n'))
})

test('all mistakes are told', () => {
  const error = failure(machine({ SPILLWAY_IDLE_TIMEOUT: '30' }))
  const shown = check(error, text)
  for (const word of ['3 mistakes', 'SPILLWAY_UPSTREAMS', 'SPILLWAY_UPSTREAM_CLIENT_IP', 'write 30s'])
    expect(shown).toContain(word)
  expect(shown).not.toContain('The settings are right')
})

test('the same in JSON', () => {
  const right = JSON.parse(check(loadWith({}), json))
  expect(right).toMatchObject({ ok: true, mistakes: [] })
  expect(right.settings.SPILLWAY_LISTEN).toEqual({ value: '0.0.0.0:2525,[::]:2525', origin: 'default' })
  const wrong = JSON.parse(check(failure(machine({})), json))
  expect(wrong.ok).toBe(false)
  expect(wrong.mistakes.map((each: { name: string }) => each.name)).toContain('SPILLWAY_UPSTREAMS')
})
