/** The manual page and the completions: as the tables of verbs say, and good for the programs that read them. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { bashCompletion, fishCompletion, zshCompletion } from '../../src/cli/manual/completions.ts'
import { manualPage, roff } from '../../src/cli/manual/page.ts'
import type { Verb } from '../../src/cli/verb-options.ts'
import { VERBS } from '../../src/cli/verbs.ts'
import { SETTING_NAMES } from '../../src/config/settings.ts'
import { temporaryFolder } from '../support/folders.ts'

const inRoot = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const { version } = JSON.parse(inRoot('package.json')) as { version: string }
const PAGE = manualPage(version)

test('the files are what the tables say (npm run docs)', () => {
  expect(inRoot('docs/man/spillway.1')).toBe(PAGE)
  expect(inRoot('docs/completions/spillway.bash')).toBe(bashCompletion())
  expect(inRoot('docs/completions/_spillway')).toBe(zshCompletion())
  expect(inRoot('docs/completions/spillway.fish')).toBe(fishCompletion())
})

describe('the manual page', () => {
  /** As a terminal of 100 columns shows it. */
  const rendered = (source: string): string =>
    execFileSync('groff', ['-man', '-Tascii', '-P-cbou', '-rLL=100n'], { input: source, encoding: 'utf8' })

  test('has no mistake that groff would warn of', () => {
    const { stderr, status } = spawnSync('groff', ['-man', '-ww', '-Tascii', '-z'], { input: PAGE, encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
  })

  test('names every verb, option and setting', () => {
    const text = rendered(PAGE)
    for (const [name, verb] of Object.entries<Verb>(VERBS)) {
      expect(text).toMatch(new RegExp(`^ +${name} (?:\\[|[A-Z])`, 'm'))
      // Lines are justified: which gaps of a long one are wider depends on the lines before it.
      expect(text.replaceAll(/ +/g, ' ')).toContain(`Example: ${verb.example.split(' --')[0]}`)
    }
    for (const name of [...SETTING_NAMES, '--env-file PATH', '--take-over', '-h, --help']) expect(text).toContain(name)
  })

  test('text stays text', () => {
    const text = "a\\b 'c' `d` --e\n.f"
    expect(rendered(`.TH X 1\n.nf\n${roff(text)}`)).toContain("a\\b 'c' `d` --e")
    expect(rendered(`.TH X 1\n.nf\n${roff(text)}`)).toContain('.f')
  })
})

describe('in a real bash', () => {
  let folder: string
  beforeAll(() => {
    folder = temporaryFolder('spillway-completion')
    writeFileSync(join(folder, 'spillway.bash'), bashCompletion())
    mkdirSync(join(folder, 'etc'))
    writeFileSync(join(folder, 'etc', 'my settings.env'), '')
  })

  /** What is offered. @param words those typed, the last one incomplete */
  const completed = (...words: string[]): string[] => {
    const script = `set -eu; source ./spillway.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _spillway || true
      for each in "\${COMPREPLY[@]}"; do printf '%s\\n' "$each"; done`
    const output = execFileSync('bash', ['--norc', '-c', script, 'bash', 'spillway', ...words], {
      ...{ cwd: folder, encoding: 'utf8' },
      env: { PATH: process.env.PATH },
    })
    return output.split('\n').filter(Boolean)
  }

  test.each<[string[], string[]]>([
    [[''], Object.keys(VERBS)],
    [['dr'], ['drain']],
    [
      ['bans', ''],
      ['list', 'add', 'remove'],
    ],
    [['bans', '--time', '6h', 'r'], ['remove']],
    [['bans', '--env-file', '=', 'x', 'r'], ['remove']],
    [['bans', 'add', ''], []],
    [['bans', 'add', '192.0.2.1', '--re'], ['--reason']],
    [
      ['level', ''],
      ['auto', 'off', '0', '1', '2', '3', '4'],
    ],
    [['level', '--t'], ['--time']],
    [['level', '--time', ''], []],
    [
      ['healthcheck', '--'],
      ['--env-file', '--ready', '--mail', '--json', '--help', '--version'],
    ],
    [['--ta'], ['--take-over']],
    [['check', '--env-file', 'etc/my'], ['etc/my settings.env']],
    [['check', '--env-file', '=', 'etc/'], ['etc/my settings.env']],
    [['learn', 'et'], ['etc']],
    [['nonsense', ''], []],
  ])('%j', (words, offered) => {
    expect(completed(...words)).toEqual(offered)
  })
})

/** Whether a shell is here to read what is written for it. */
const has = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0

describe('for the other shells', () => {
  test('each verb is there once, with its options', () => {
    for (const [name, { options }] of Object.entries<Verb>(VERBS)) {
      expect(zshCompletion().split(`\n    ${name})\n`)).toHaveLength(2)
      expect(fishCompletion().split(` -a ${name} -d `)).toHaveLength(2)
      for (const { help } of Object.values(options)) expect(fishCompletion()).toContain(help.replaceAll("'", "\\'"))
    }
  })

  test.each([
    ['zsh', ['-n'], zshCompletion()],
    ['fish', ['--no-execute'], fishCompletion()],
  ] as const)('%s reads it, where it is installed', (shell, args, text) => {
    if (!has(shell)) return
    const file = join(temporaryFolder('spillway-completion'), 'completion')
    writeFileSync(file, text)
    const { status, stderr } = spawnSync(shell, [...args, file], { encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
  })
})
