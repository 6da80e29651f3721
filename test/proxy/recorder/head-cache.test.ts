import { describe, expect, it } from 'vitest';
import { Routes } from '../../../src/core/routes.ts';
import { HeadCache } from '../../../src/proxy/recorder/head-cache.ts';
import { Redaction } from '../../../src/redaction/head-redaction.ts';

const request = (path: string, ...lines: string[]) =>
  Buffer.from([`POST ${path} HTTP/1.1`, 'Host: h', ...lines, '', ''].join('\r\n'));

describe('heads that are known', () => {
  it('are read once for as often as they come', () => {
    const heads = new HeadCache(new Routes(new Redaction()));
    const first = heads.request(request('/v2/models/a/infer', 'Content-Length: 5'));
    expect(heads.request(request('/v2/models/a/infer', 'Content-Length: 5'))).toBe(first);
    expect(first).toMatchObject({ framing: { kind: 'length', bytes: 5 }, route: { model: 'a' } });
  });

  it('are never taken for others, however alike', () => {
    const heads = new HeadCache(new Routes(new Redaction()));
    for (let round = 0; round < 2; round += 1) {
      for (let bytes = 0; bytes < 3_000; bytes += 1) {
        const reading = heads.request(
          request(`/${bytes % 7}`, `Content-Length: ${bytes}`, 'X: yyyyyyyyyyyyyyy'),
        );
        expect(reading?.framing).toEqual({ kind: 'length', bytes });
        expect(reading?.scanned.target).toBe(`/${bytes % 7}`);
      }
    }
  });

  it('do not outlive the buffer they were found in', () => {
    const heads = new HeadCache(new Routes(new Redaction()));
    const chunk = request('/one', 'Content-Length: 1');
    const reading = heads.request(chunk);
    request('/two', 'Content-Length: 2').copy(chunk);
    expect(heads.request(chunk)?.scanned.target).toBe('/two');
    expect(reading?.scanned.target).toBe('/one');
    expect(heads.request(request('/one', 'Content-Length: 1'))?.scanned.target).toBe('/one');
  });

  it('end as the method of their request has it', () => {
    const heads = new HeadCache(new Routes(new Redaction()));
    const head = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
    const kinds = ['GET', 'HEAD', 'GET', 'CONNECT'].map(
      (method) => heads.response(head, method)?.framing.kind,
    );
    expect(kinds).toEqual(['length', 'none', 'length', 'tunnel']);
  });

  it('are refused each time where servers could read them in two ways, and read when too long to be kept', () => {
    const heads = new HeadCache(new Routes(new Redaction()));
    const refused = request('/', 'Content-Length: 5', 'Content-Length: 6');
    expect([heads.request(refused), heads.request(refused)]).toEqual([null, null]);
    const long = request('/', `X: ${'y'.repeat(5_000)}`);
    expect(heads.request(long)?.framing).toEqual({ kind: 'none' });
    expect(heads.request(long)?.framing).toEqual({ kind: 'none' });
  });
});
