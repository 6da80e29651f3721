import { once } from 'node:events';
import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { MOCK_OPTIONS, type MockDocument, resolveMockOptions, startMock } from '../../app/mock/mock.ts';
import { toggle } from '../../core/options.ts';
import { formatMs } from '../../core/units.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...MOCK_OPTIONS, json: toggle('--json', 'at the end, print one JSON document') };

/** `reprise mock CAPTURE`: an offline twin of the recorded server. */
export function mockCommand(): Command {
  return addOptions(new Command('mock'), OPTIONS)
    .description(
      'Answer requests with the recorded answers of a capture, at their recorded times. The capture needs the ' +
        'bodies of answers (record --bodies all). Stop with Ctrl-C or SIGTERM.',
    )
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      const { json } = optionsOf(command, OPTIONS);
      const options = resolveMockOptions(askedOf(command, OPTIONS));
      const logger = loggerOf(command);
      await interruptible(async ({ signal }) => {
        const mock = await startMock(directory, options, logger, (exchanges) => {
          terminal.progress(`${exchanges.toLocaleString('en-US')} exchanges read`);
          signal.throwIfAborted();
        });
        terminal.endProgress();
        const { address, answers, leftOut, hashKeyKnown } = mock;
        logger.info({ address, answers, leftOut, hashKeyKnown }, 'the mock answers');
        if (!signal.aborted) await once(signal, 'abort');
        const document = await mock.stop();
        if (json) terminal.json(document);
        else terminal.print(...textOf(document));
      }, 'what the mock did');
    });
}

function textOf(document: MockDocument): string[] {
  const { requests, exact, nearest, unknown, broken, estimatedCuts, leftOut, lateUs } = document;
  const { busy, unreadable, clientsLeft, refusedConnections } = document;
  const notUsed = Object.entries(leftOut).filter(([, exchanges]) => exchanges > 0);
  const rows: [string, string][] = [
    ['capture', document.capture],
    ['recorded answers', String(document.answers)],
    ...notUsed.map(([why, exchanges]): [string, string] => [`not used: ${why}`, String(exchanges)]),
    ['requests', String(requests)],
    ['answered exactly', String(exact)],
    ['answered by the nearest', String(nearest)],
    ['unknown (404)', String(unknown)],
    ['broken off as recorded', String(broken)],
    ['cuts estimated', String(estimatedCuts)],
    ['refused by a limit (503)', String(busy)],
    ['unreadable (502)', String(unreadable)],
    ['clients left', String(clientsLeft)],
    ['connections refused', String(refusedConnections)],
    ['sent late', lateText(lateUs)],
  ];
  return tableLines(columnsOf(['', ''], []), rows).slice(1);
}

function lateText({ p50, p95, p99, max }: MockDocument['lateUs']): string {
  const ms = (us: number | null) => (us === null ? '–' : formatMs(us / 1e3));
  return `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}, max ${ms(max)}`;
}
