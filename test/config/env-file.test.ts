/** The form of the env file, line by line. docker, systemd and shells read some of it otherwise. */
import { describe, expect, test } from '@jest/globals'
import { parseEnvFile } from '../../src/config/env-file.ts'

/** What one line says of SPILLWAY_X: its value, or what is expected in its place. */
const read = (line: string): { value: string } | { expected: string } | undefined => {
  const { lines, wrong } = parseEnvFile(line, 'SPILLWAY_')
  expect(lines.length + wrong.length).toBeLessThanOrEqual(1)
  for (const { name } of [...lines, ...wrong]) expect(name ?? 'SPILLWAY_X').toBe('SPILLWAY_X')
  const [taken] = lines
  const [refused] = wrong
  return taken ? { value: taken.value } : refused && { expected: refused.expected }
}

test.each([
  ['SPILLWAY_X=a', 'a'],
  ['SPILLWAY_X=', ''],
  ['SPILLWAY_X=a\r', 'a'],
  ['\uFEFFSPILLWAY_X=a', 'a'],
  ['  SPILLWAY_X = a  ', 'a'],
  ['SPILLWAY_X=a=b', 'a=b'],
  ['SPILLWAY_X=a, b', 'a, b'],
  // Kept whole: what a shell and Compose would replace.
  ['SPILLWAY_X=$HOME', '$HOME'],
  ['SPILLWAY_X="$HOME `id`"', '$HOME `id`'],
  // systemd passes over these lines, docker refuses them.
  ['export SPILLWAY_X=a', 'a'],
  ['export\tSPILLWAY_X="a"', 'a'],
  // systemd and docker take the comment for a part of the value.
  ['SPILLWAY_X=a # why', 'a'],
  ['SPILLWAY_X=a\t# why', 'a'],
  ['SPILLWAY_X="a" # why', 'a'],
  ['SPILLWAY_X= # nobody', ''],
  ['SPILLWAY_X=a#b', 'a#b'],
  ['SPILLWAY_X="a # b"', 'a # b'],
  ["SPILLWAY_X='#b' # why", '#b'],
  // docker keeps the quotes.
  ['SPILLWAY_X="a b"', 'a b'],
  ["SPILLWAY_X=''", ''],
  [`SPILLWAY_X='say "a"'`, 'say "a"'],
  [`SPILLWAY_X="it's"`, "it's"],
  [`SPILLWAY_X=it's`, "it's"],
  // A backslash stands for itself between single quotes, and is refused elsewhere (below).
  ["SPILLWAY_X='a\\b'", 'a\\b'],
])('%j gives %j', (line, value) => {
  expect(read(line)).toEqual({ value })
})

test.each([
  ['SPILLWAY_X=#a', 'quotes around a value that begins with #'],
  ['SPILLWAY_X="a"#b', 'nothing after the closing "'],
  ['SPILLWAY_X="a" b', 'nothing after the closing "'],
  ['SPILLWAY_X="a""b"', 'nothing after the closing "'],
  ['SPILLWAY_X="a', 'a closing "'],
  ["SPILLWAY_X='a # b", "a closing '"],
  ['SPILLWAY_X=a\\b', 'single quotes around a value with a backslash'],
  ['SPILLWAY_X="a\\"b"', 'single quotes around a value with a backslash'],
  ['SPILLWAY_X="a\\\\b"', 'single quotes around a value with a backslash'],
  ['SPILLWAY_X=192.0.2.1,\\', 'no line continues on the next one'],
  ['SPILLWAY_X a', 'write SPILLWAY_X=…'],
  ['export SPILLWAY_X', 'write SPILLWAY_X=…'],
  ['SPILLWAY_X: a', 'write SPILLWAY_X=…'],
  ['; a comment to systemd', 'a comment that begins with #'],
])('%j is a mistake: %s', (line, expected) => {
  expect(read(line)).toEqual({ expected: expect.stringContaining(expected) })
})

test.each(['', '  ', '# SPILLWAY_X=a', '\t#', 'PATH=/nowhere', 'export LANG=C'])('%j says nothing', (line) => {
  expect(read(line)).toBeUndefined()
})

describe('a file', () => {
  test('is counted in lines, whatever stands on them', () => {
    const { lines } = parseEnvFile('# first\r\n\r\nSPILLWAY_A=1\nPATH=x\nexport SPILLWAY_B=2', 'SPILLWAY_')
    expect(lines).toEqual([
      { name: 'SPILLWAY_A', value: '1', line: 3 },
      { name: 'SPILLWAY_B', value: '2', line: 5 },
    ])
  })

  test('gives each name once, also where the first of two is wrong', () => {
    const { lines, wrong } = parseEnvFile('SPILLWAY_A="1\nSPILLWAY_A=2\nSPILLWAY_B=3', 'SPILLWAY_')
    expect(lines.map(({ name }) => name)).toEqual(['SPILLWAY_B'])
    expect(wrong.map(({ line, name }) => [line, name])).toEqual([
      [1, 'SPILLWAY_A'],
      [2, 'SPILLWAY_A'],
    ])
  })
})
