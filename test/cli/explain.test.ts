/** `spillway explain`: what it says of an id, and its exit codes. */
import { describe, expect, test } from '@jest/globals'
import { explain } from '../../src/cli/explain.ts'
import { run } from '../support/program.ts'

describe('spillway explain', () => {
  test('from the command line it says why and when', async () => {
    const { code, output } = await run(['explain', '1RV17D4600503'], { env: {} })
    expect({ code, output }).toMatchObject({
      code: 0,
      output: expect.stringContaining('Turned away for ip_connections'),
    })
    expect(output).toContain('grep 1RV17D46005')
  })

  test('the words of a mail server and the id of a session have no reason', () => {
    expect(explain('1RV17D4600500', { json: false }).output).toContain('A mail server refused it')
    expect(JSON.parse(explain('1RV17D46005', { json: true }).output)).not.toHaveProperty('reason')
  })

  test('what is no id is said to be none, with what is special in it escaped', () => {
    const { code, output } = explain('\u001b[2Jx', { json: false })
    expect(code).toBe(64)
    expect(output).toContain('is no id')
    expect(output).not.toContain('\u001b')
  })
})
