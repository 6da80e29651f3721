import { describe, expect, it } from 'vitest';
import { authorityOf, formatEndpoint, isLoopback, parseEndpoint } from '../../../src/proxy/net/endpoint.ts';

const tcp = (host: string, port: number, tls = false) => ({ kind: 'tcp', host, port, tls });

describe('an endpoint', () => {
  it.each([
    ['127.0.0.1:8080', tcp('127.0.0.1', 8080)],
    [':8080', tcp('127.0.0.1', 8080)],
    ['http://model:8000/', tcp('model', 8000)],
    ['http://model', tcp('model', 80)],
    ['https://model.svc', tcp('model.svc', 443, true)],
    ['HTTPS://[::1]:8443', tcp('::1', 8443, true)],
    ['[fe80::1%eth0]:80', tcp('fe80::1%eth0', 80)],
    ['unix:/run/model/http.sock', { kind: 'unix', path: '/run/model/http.sock' }],
    ['unix:///run/model.sock', { kind: 'unix', path: '/run/model.sock' }],
  ])('%s is read', (text, endpoint) => {
    expect(parseEndpoint(text, '--target')).toEqual(endpoint);
  });

  it.each([
    ['nonsense', 'host:port'],
    ['model', 'host:port'],
    ['127.0.0.1:0', 'host:port'],
    ['127.0.0.1:65536', 'host:port'],
    ['ftp://model:21', 'host:port'],
    ['name=model:8000', 'host:port'],
    ['http://name=model:8000', 'host:port'],
    ['http://user@model:80', 'credentials'],
    ['http://model:80?key=s3cret', 'paths pass through'],
    ['http://model:80/v1', 'paths pass through'],
    ['unix:relative.sock', 'absolute path'],
    ['unix:/run/', 'absolute path'],
    [`unix:/${'x'.repeat(103)}`, 'at most 103 bytes'],
  ])('%s is refused with the way out', (text, hint) => {
    const refusal = expect.objectContaining({ code: 'OPTION_INVALID', hint: expect.stringContaining(hint) });
    expect(() => parseEndpoint(text, '--target')).toThrow(refusal);
  });

  it.each(['http://u:s3cret@model:80', 'u:s3cret@model:80', 'http://model:80/?key=s3cret'])(
    'that is refused is quoted without its credentials: %s',
    (text) => {
      expect(() => parseEndpoint(text, '--target')).toThrow(
        /^--target: "(?!.*s3cret).*\*\*\*.*" is not an address$/,
      );
    },
  );

  it('that is listened on may leave the port and the host to us, and speak TLS without saying so', () => {
    expect(parseEndpoint(':0', '--listen', { anyPort: true })).toEqual(tcp('::', 0));
    expect(parseEndpoint(':8443', '--listen', { anyPort: true, tls: true })).toEqual(tcp('::', 8443, true));
    expect(parseEndpoint('http://:80', '--listen', { anyPort: true, tls: true })).toEqual(tcp('::', 80));
  });

  it('is written as it is read', () => {
    for (const text of ['127.0.0.1:80', 'https://[::1]:8443', 'unix:/run/x.sock']) {
      expect(formatEndpoint(parseEndpoint(text, 'x'))).toBe(text);
    }
    expect(authorityOf(parseEndpoint('https://model:8443', 'x'))).toBe('model:8443');
  });

  // Without a token a gate would have listened where other hosts reach it.
  it.each(['127.example', '127.0.0.1.example', '0.0.0.0', '10.0.0.1'])('at %s is no loopback', (host) => {
    expect(isLoopback(host)).toBe(false);
  });

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('at %s is one', (host) => {
    expect(isLoopback(host)).toBe(true);
  });
});
