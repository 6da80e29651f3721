import { Command } from 'commander';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import {
  planLines,
  statementPage,
  statementScreen,
  statementVerdict,
  statementView,
} from '../../analysis/statement/view.ts';
import { pageAssets } from '../../app/package.ts';
import {
  DEMAND_OPTIONS,
  expectedDemand,
  resolveStatementOptions,
  STATEMENT_OPTIONS,
} from '../../app/statement/options.ts';
import { makeStatement, statementFrom, verifyStatement } from '../../app/statement/statement.ts';
import { VERDICT_OPTIONS } from '../../app/verdict/options.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { askedFor, grouped, type ResolvedOptions, readOptions, text, toggle } from '../../core/options.ts';
import { shellWord } from '../../core/text.ts';
import type { StatementDocument } from '../../documents/statement.ts';
import { EXIT, statusOfVerdict } from '../exit.ts';
import { addOptions, askedOf } from '../options.ts';
import {
  calledAs,
  DETAIL_OPTIONS,
  type DocumentForms,
  type DocumentOutput,
  detailed,
  formOption,
  outputsOf,
  watchedBy,
  writeOutputs,
} from '../output.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const FORMS = ['markdown', 'html'] as const;
const OUTPUTS = grouped('Output', {
  json: toggle('--json', 'print one JSON document'),
  markdown: formOption('--markdown [file]', 'write Markdown'),
  html: formOption('--html [file]', 'write one self-contained page, for paper too'),
});
const READING = grouped('A statement that exists', {
  from: text('--from <directory>', 'the statement of what was replayed there; send nothing'),
  verify: text('--verify <directory>', 'check that the files of a statement are unchanged'),
  signedBy: text('--signed-by <name>', 'with --from: who signs it; prints how to add a signature'),
});
const OPTIONS = { ...STATEMENT_OPTIONS, ...OUTPUTS, ...READING, ...DETAIL_OPTIONS };
const COMMON = [
  ...(['target', 'slo', 'multiplier', 'budget', 'window', 'out', 'dryRun'] as const),
  ...(['from', 'verify', 'signedBy', 'html', 'json'] as const),
];
type Detail = ResolvedOptions<typeof DETAIL_OPTIONS>;

/** `reprise statement CAPTURE`: whether a service holds a multiple of its hardest recorded load, as one page. */
export function statementCommand(): Command {
  return addOptions(new Command('statement'), OPTIONS, COMMON)
    .description(
      'Say on one page whether a service holds a multiple of its hardest recorded load, where it breaks and how ' +
        'sure that is. A statement that was stopped goes on with the same command and --out.',
    )
    .argument('[capture]', 'the directory of a capture; none with --from or --verify')
    .action(async (capture: string | undefined, _: object, command: Command) => {
      await statement(capture, command);
    });
}

async function statement(capture: string | undefined, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const problems = new Problems();
  const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
  const detail = readOptions(DETAIL_OPTIONS, asked, problems);
  const { from, verify, signedBy } = readOptions(READING, asked, problems);
  if ([capture, from ?? undefined, verify ?? undefined].filter((each) => each !== undefined).length !== 1)
    problems.add('statement takes a capture, --from or --verify, and one of them');
  if (signedBy !== null && from === null)
    problems.add('--signed-by needs --from: read a statement before you sign it');
  problems.throwIfAny();
  if (verify !== null) {
    check(verify);
    return;
  }
  if (from !== null) {
    const verdict = readOptions(VERDICT_OPTIONS, askedFor(VERDICT_OPTIONS, asked), problems);
    const expected = expectedDemand(askedFor(DEMAND_OPTIONS, asked), problems);
    problems.throwIfAny();
    const reading = { expected, verdict, signer: signedBy };
    const document = statementFrom(from, reading, watchedBy(terminal, detail).note);
    show(document, outputs, detail);
    if (signedBy !== null) {
      const file = shellWord(`${from}/SHA256SUMS`);
      terminal.note(`Sign it with a tool of your choice, such as: gpg -ab ${file}`);
    }
    return;
  }
  const options = resolveStatementOptions(askedFor(STATEMENT_OPTIONS, asked), problems);
  const isText = options.search.run.options.dryRun && asked.stated.json !== true;
  let interruption = null as Interruption | null;
  const watcher = watchedBy(terminal, detail);
  const made = await makeStatement(capture ?? '', options, {
    logger: (await import('../logger.ts')).loggerOf(command),
    reporter: watcher,
    onPlan: (plan, directory) => {
      if (isText) terminal.print(...planLines(plan));
      else if (directory !== null) watcher.note(...planLines(plan), `Kept in ${directory}`);
    },
    listen: () => {
      interruption = new Interruption();
      return interruption;
    },
  });
  if (made.kind === 'planned') {
    if (!isText) terminal.json(made.plan);
    return;
  }
  show(made.document, outputs, detail);
  if (interruption?.status != null) process.exitCode = interruption.status;
  if (made.error !== null) {
    process.exitCode = EXIT.unreachable;
    throw made.error;
  }
}

function show(
  document: StatementDocument,
  outputs: readonly DocumentOutput<'markdown' | 'html'>[],
  detail: Detail,
): void {
  const forms: DocumentForms<(typeof FORMS)[number]> = {
    json: document,
    text: () =>
      detailed(detail, {
        verdict: () => statementVerdict(document),
        screen: () =>
          statementScreen(document, outputs.some(({ form }) => form === 'html') ? null : calledAs()),
        all: () => [...viewText(statementView(document)), '', `Kept in ${document.directory}`],
      }),
    rendered: {
      markdown: { called: 'Markdown', render: () => viewMarkdown(statementView(document)) },
      html: { called: 'page', render: () => statementPage(document, pageAssets()) },
    },
  };
  writeOutputs(forms, outputs, terminal);
  process.exitCode = statusOfVerdict({ verdict: document.verdict, valid: true });
}

/** @throws AppError INPUT_INVALID naming every file that was changed */
function check(directory: string): void {
  const { document, changed, signatures } = verifyStatement(directory);
  if (changed.length > 0) {
    const files = changed.map(({ file, why }) => `${file}: ${why}`);
    throw new AppError(
      'INPUT_INVALID',
      `the statement ${directory} is not as it was made\n${files.join('\n')}`,
      {
        hint: 'Restore the files from a copy, or make the statement again with --from if the runs are right.',
      },
    );
  }
  const { signedBy } = document;
  terminal.print(
    `${document.digests.length + 1} files are as they were`,
    document.sentence,
    signedBy === null ? 'Signed by nobody' : `Signed by ${signedBy.name}, ${signedBy.at}`,
    signatures.length === 0
      ? 'There is no signature beside SHA256SUMS'
      : `Signatures, which this does not check: ${signatures.join(', ')}`,
  );
}
