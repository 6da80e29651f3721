import type { Result } from '../../documents/history.ts';
import { escaped } from '../render/html.ts';
import type { Outcome, OutcomeCase } from './outcome.ts';

/**
 * An outcome as JUnit XML, in the form that Jenkins, GitLab and Azure read: a suite for the test, a case for each
 * objective and each reason. What is undecided is `skipped`: JUnit has no third result, and the exit status tells.
 */
export function junitXml(outcome: Outcome): string {
  const { test, cases, properties, startedAt, durationS, command } = outcome;
  const count = (result: Result) => cases.filter((each) => each.result === result).length;
  const counts = attributes({
    tests: cases.length,
    failures: count('failed'),
    errors: 0,
    skipped: count('undecided'),
    time: durationS.toFixed(3),
  });
  const named = attributes({ name: test, ...(startedAt !== null && { timestamp: startedAt }) });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${attributes({ name: `reprise ${command}` })}${counts}>`,
    `  <testsuite${named}${counts}>`,
    '    <properties>',
    ...properties.map(([name, value]) => `      <property${attributes({ name, value })}/>`),
    '    </properties>',
    ...cases.flatMap((each) => caseLines(each, `${command}.${each.kind}`)),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function caseLines({ name, kind, result, message, advice }: OutcomeCase, classname: string): string[] {
  const begin = `    <testcase${attributes({ name, classname, time: '0' })}`;
  if (result === 'passed') return [`${begin}/>`];
  const said = attributes({ message });
  const told = advice === '' ? message : `${message}\nTo do: ${advice}`;
  return [
    `${begin}>`,
    result === 'failed'
      ? `      <failure${said}${attributes({ type: kind })}>${xmlText(`${name}: ${told}`)}</failure>`
      : `      <skipped${said}>${xmlText(told)}</skipped>`,
    '    </testcase>',
  ];
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${xmlText(String(value))}"`)
    .join('');
}

/** XML 1.0 has no place for lone surrogates and for U+FFFE and U+FFFF, however written. */
function xmlText(text: string): string {
  return escaped(text.toWellFormed().replace(/[\ufffe\uffff]/g, '\ufffd'));
}
