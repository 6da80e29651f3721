import { expect, onTestFinished, test, vi } from 'vitest';
import { RecorderPage } from '../../../src/app/live/pages.ts';
import { LiveServer } from '../../../src/app/live/server.ts';
import type { RecorderStatus } from '../../../src/core/accounting.ts';
import { AppError } from '../../../src/core/errors.ts';
import { parseServed } from '../../../src/proxy/net/endpoint.ts';
import { someStatus } from '../../support/some-status.ts';

async function served(ask: () => Promise<RecorderStatus>): Promise<string> {
  const page = new RecorderPage(ask);
  const server = new LiveServer(page.pages);
  onTestFinished(() => {
    page.stop();
    server.close();
  });
  await page.start();
  return (await server.listen(parseServed(':0', '--serve'))).url;
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
  expect(html).toContain('<main data-live data-state="GONE">');
  expect(html).toContain('no recording answers in /c. Start it with &#60;reprise record&#62;.');
  expect(html).toContain("fetch('/'");
  const json = await fetch(`${url}status.json`);
  expect(json.status).toBe(503);
  expect(await json.json()).toEqual({ error: absent.message, hint: absent.hint });
});

test('programs read the status itself beside the page', async () => {
  const url = await served(() => Promise.resolve(someStatus()));
  expect(await (await fetch(`${url}status.json`)).json()).toEqual(someStatus());
  expect((await fetch(url, { method: 'HEAD' })).status).toBe(200);
});

test('a recording that was drained was shown as one that does not answer', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const absent = new AppError('RECORDER_UNREACHABLE', 'none is running there', { hint: 'Start it.' });
  const stateAfter = async (last: Partial<RecorderStatus>) => {
    const answers = [someStatus({ exchanges: 1_179, ...last })];
    const page = new RecorderPage(() => {
      const answer = answers.shift();
      return answer === undefined ? Promise.reject(absent) : Promise.resolve(answer);
    });
    await page.start();
    await vi.advanceTimersByTimeAsync(1_000);
    page.stop();
    return page.pages['/']().body;
  };
  const ended = await stateAfter({ draining: true });
  expect(ended).toContain('data-state="ENDED"');
  expect(ended).toContain('1,179 exchanges');
  expect(await stateAfter({ draining: false })).toContain('data-state="GONE"');
});
