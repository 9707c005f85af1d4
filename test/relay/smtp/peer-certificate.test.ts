/** Names that a certificate is asked for as the operator may write them. */

import { X509Certificate } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { nameFault } from '../../../src/relay/smtp/peer-certificate.ts'
import { CERT } from '../../config/pem.ts'

test.each(['fe80::1%eth0', 'fe80::1', '192.0.2.1', 'other.example'])(
  '%s, which it is not for, is told and throws nothing',
  (name) => {
    expect(nameFault(new X509Certificate(CERT).raw, name)?.message).toContain(`not for ${name}`)
  },
)
