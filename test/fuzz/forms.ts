/**
 * Byte sequences that have ended a message somewhere and must not (CVE-2023-51764, 51765, 51766): all that look like
 * CRLF.CRLF to a reader who takes a bare LF or CR for a line end, drops NULs, or trims lines.
 */
export const FORMS: Readonly<Record<string, string>> = {
  'LF.LF': '\n.\n',
  'LF.CRLF': '\n.\r\n',
  'LF.CR': '\n.\r',
  'CRLF.LF': '\r\n.\n',
  'CRLF.CR': '\r\n.\r',
  'CR.CR': '\r.\r',
  'CR.LF': '\r.\n',
  'CR.CRLF': '\r.\r\n',
  'CRCRLF.CRLF': '\r\r\n.\r\r\n',
  'CRLF.CRCRLF': '\r\n.\r\r\n',
  'LFCR.LFCR': '\n\r.\n\r',
  'LFLF.LFLF': '\n\n.\n\n',
  'CRLF NUL .CRLF': '\r\n\0.\r\n',
  'CRLF. NUL CRLF': '\r\n.\0\r\n',
  'CRLF.CR NUL LF': '\r\n.\r\0\n',
  'CR NUL LF.CRLF': '\r\0\n.\r\n',
  'NUL LF.LF': '\0\n.\n',
  'CRLF. space CRLF': '\r\n. \r\n',
  'CRLF space .CRLF': '\r\n .\r\n',
  'CRLF..CRLF': '\r\n..\r\n',
  'CRLF..LF': '\r\n..\n',
  'LF..CRLF': '\n..\r\n',
}

/** What a smuggler puts behind such a form: a second message, from and to whom the first was not. */
export const SMUGGLED =
  'MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\nX-Mark: smuggled\r\n\r\nevil\r\n'
