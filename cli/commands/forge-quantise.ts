import { hoistConstants } from '@espalier/forge/graph/constants'
import { raiseOpset } from '@espalier/forge/graph/raise-opset'
import { measureRanges } from '@espalier/forge/passes/calibrate'
import { fold } from '@espalier/forge/passes/fold'
import { quantiseDynamic } from '@espalier/forge/passes/quantise-dynamic'
import { quantiseHalf } from '@espalier/forge/passes/quantise-half'
import { quantiseStatic } from '@espalier/forge/passes/quantise-static'
import {
  checkNotQuantised,
  QUANTISE_MODES,
  type QuantiseMode,
  type QuantiseReport,
} from '@espalier/forge/passes/quantise-weights'
import { type Command, Option } from 'commander'
import { readCalibration, type WithData, withData } from './forge-data.ts'
import { passCommand, runPass } from './forge-pass.ts'

/** The first opset with DynamicQuantizeLinear, and with scales by channel. */
const OPSETS = { dynamic: 11, static: 13 } as const

interface QuantiseCommand extends WithData {
  readonly mode: QuantiseMode
  readonly reduceRange?: true
  readonly floatDepthwise?: true
}

const quantiseTable = ({ quantised, left }: QuantiseReport): string[] => [
  `quantised: ${quantised.join(', ')}`,
  ...left.map(({ node, reason }) => `${node} stays: ${reason}`),
]

async function runQuantise(input: string, options: QuantiseCommand): Promise<void> {
  const { mode, limit, reduceRange, floatDepthwise } = options
  const own = { isReduced: reduceRange === true, keepsDepthwise: floatDepthwise === true }
  await runPass('quantise', input, options, { mode, limit, ...own }, async ({ graph: original }, probe) => {
    const hoisted = hoistConstants(original)
    checkNotQuantised(hoisted)
    const quantise = async () => {
      if (mode === 'fp16') return quantiseHalf(hoisted)
      // Folded first: a BatchNorm between would need a range of its own.
      const { graph: folded } = fold(hoisted, await probe(hoisted))
      const graph = raiseOpset(folded, OPSETS[mode], await probe(folded))
      if (mode === 'dynamic') return quantiseDynamic(graph, own)
      const { input: value, feeds } = await readCalibration(graph, options, options.calibration)
      return quantiseStatic(graph, await measureRanges(graph, value, feeds, own), own)
    }
    const done = await quantise()
    return { ...done, text: quantiseTable(done.report) }
  })
}

export function registerForgeQuantise(forge: Command): void {
  withData(passCommand(forge, 'quantise', 'int8 by calibration (static) or as it comes (dynamic), or float16 weights'))
    .addOption(new Option('--mode <m>').choices(QUANTISE_MODES).default('static'))
    .option('--reduce-range', 'weights of 7 bits, for x86 processors without VNNI, whose sums saturate')
    .option('--float-depthwise', 'keep depthwise convolutions as they are: in the browser integers take longer there')
    .action(runQuantise)
}
