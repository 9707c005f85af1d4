/** Whose name it is, and which names say of nobody. */
import { describe, expect, test } from '@jest/globals'
import { organisationOf } from '../../src/dns/organisation.ts'

describe('a name that somebody has given to a mail server of his own', () => {
  test.each([
    ['mail-ed1-f47.google.com', '209.85.208.47', 'google.com'],
    ['mail-am6eur05on2087.outbound.protection.outlook.com', '40.107.22.87', 'outlook.com'],
    ['a8-29.smtp-out.amazonses.com', '54.240.8.29', 'amazonses.com'],
    ['mout.kundenserver.de', '212.227.126.131', 'kundenserver.de'],
    ['MX1.Company.CO.UK.', '192.0.2.1', 'company.co.uk'],
    ['company.example', '192.0.2.1', 'company.example'],
    ['mx.dsl.example', '192.0.2.1', 'dsl.example'],
    ['mail-40131.protonmail.ch', '185.70.40.131', 'protonmail.ch'],
    ['qs51p00im-qukt01080102.me.com', '17.57.155.6', 'me.com'],
    ['o168245189.outbound-mail.sendgrid.net', '168.245.1.89', 'sendgrid.net'],
    ['mx1234.company.example', '192.0.2.1', 'company.example'],
    ['mail1.company.example', '2001:db8::25', 'company.example'],
    ['mail-2-0-0.company.example', '2001:db8::25', 'company.example'],
  ])('%s is of its organisation', (name, ip, organisation) => {
    expect(organisationOf(name, ip)).toBe(organisation)
  })
})

describe('a name that an address has because somebody owns the network says of nobody', () => {
  test.each([
    ['dsl-customer7.isp.example', '192.0.2.1'],
    ['p5483a1c2.dip0.t-ipconnect.de', '84.131.161.194'],
    ['static.123.45.67.89.clients.your-server.de', '123.45.67.89'],
    ['89-67-45-123.isp.example', '123.45.67.89'],
    ['x123045067089.isp.example', '123.45.67.89'],
    ['c-67-45-123.isp.example', '123.45.67.89'],
    ['host123.hoster.example', '192.0.2.9'],
    ['vps-1a2b3c4d.hoster.example', '192.0.2.9'],
    ['ip7b2d4359.hoster.example', '123.45.67.89'],
    ['vmi1234567.contaboserver.net', '192.0.2.9'],
    ['h2345678.stratoserver.net', '192.0.2.9'],
    ['s18123456.onlinehome-server.info', '192.0.2.9'],
    ['v2202011123456789.quicksrv.de', '192.0.2.9'],
    ['ns123456.ovh.net', '2001:db8::25'],
    ['ec2-3-120-10-20.eu-central-1.compute.amazonaws.com', '3.120.10.20'],
    ['2001-db8-12-34-56-78-9a-bc.isp.example', '2001:db8:12:34:56:78:9a:bc'],
    ['x20010db80012003400560078009a00bc.isp.example', '2001:db8:12:34:56:78:9a:bc'],
    ['g1234567890abcdef.isp.example', '2001:db8:12:34:1234:5678:90ab:cdef'],
  ])('%s', (name, ip) => {
    expect(organisationOf(name, ip)).toBeUndefined()
  })
})

describe('customers of a hoster that the list of public suffixes names', () => {
  test('have nothing in common', () => {
    expect(organisationOf('mail.one.blogspot.com', '192.0.2.1')).toBe('one.blogspot.com')
    expect(organisationOf('mail.two.github.io', '192.0.2.1')).toBe('two.github.io')
    expect(organisationOf('github.io', '192.0.2.1')).toBeUndefined()
    expect(organisationOf('co.uk', '192.0.2.1')).toBeUndefined()
  })
})

test('what is no name of a host has none', () => {
  for (const name of ['', '.', 'localhost', '192.0.2.1', 'com'])
    expect(organisationOf(name, '192.0.2.1')).toBeUndefined()
})
