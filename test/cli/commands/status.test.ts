import { expect, onTestFinished, test } from 'vitest';
import { StatusServer } from '../../../src/cli/commands/status.ts';
import type { RecorderStatus } from '../../../src/core/accounting.ts';
import { AppError } from '../../../src/core/errors.ts';
import { formatEndpoint, parseEndpoint } from '../../../src/proxy/net/endpoint.ts';
import { someStatus } from '../../support/some-status.ts';

async function served(ask: () => Promise<RecorderStatus>): Promise<string> {
  const server = new StatusServer(ask);
  onTestFinished(() => server.close());
  const bound = await server.listen(parseEndpoint('127.0.0.1:0', '--serve', { anyPort: true }));
  return `http://${formatEndpoint(bound)}/`;
}

test('a recorder that is absent when the page is loaded has a page that says so, with the way out, and asks again', async () => {
  const absent = new AppError('RECORDER_UNREACHABLE', 'no recording answers in /c', {
    hint: 'Start it with <reprise record>.',
  });
  const url = await served(() => Promise.reject(absent));
  const page = await fetch(url);
  expect(page.status).toBe(503);
  expect(page.headers.get('content-type')).toContain('text/html');
  const html = await page.text();
  expect(html).toContain('<body data-state="GONE">');
  expect(html).toContain('no recording answers in /c. Start it with &#60;reprise record&#62;.');
  expect(html).toContain('id="first">null</script>');
  expect(html).toContain("fetch('/status.json'");
  const json = await fetch(`${url}status.json`);
  expect(json.status).toBe(503);
  expect(await json.json()).toEqual({ error: absent.message, hint: absent.hint });
});

test('bodies that were cut are on the page where there are any', async () => {
  let status = someStatus();
  const url = await served(() => Promise.resolve(status));
  const hidden = async (field: string) =>
    new RegExp(`<div hidden><dt>[a-z ]+</dt><dd data-field="${field}">`).test(
      await (await fetch(url)).text(),
    );
  expect(await hidden('bodies-cut')).toBe(true);
  status = someStatus({ bodiesCut: 7 });
  const html = await (await fetch(url)).text();
  expect(html).toContain('<div><dt>bodies cut</dt><dd data-field="bodies-cut">7</dd></div>');
});

test('the page names where a gateway sends some paths', async () => {
  const routes = [{ path: '/b*', target: 'https://10.0.0.2:8443' }];
  const about = async (status: RecorderStatus) => (await fetch(await served(async () => status))).text();
  expect(await about(someStatus({ mode: 'gateway', routes }))).toContain(
    'gateway 127.0.0.1:8080 → 127.0.0.1:8000, /b* → https://10.0.0.2:8443',
  );
  expect(await about(someStatus())).toContain('wire 127.0.0.1:8080 → 127.0.0.1:8000<');
});
