/** Operators that keep each number to itself, whatever they compute. */
export const NUMBERWISE: ReadonlySet<string> = new Set([
  ...['Relu', 'LeakyRelu', 'Elu', 'Selu', 'Celu', 'Clip', 'ThresholdedRelu', 'Gelu', 'Mish', 'Erf', 'Tanh'],
  ...['Sigmoid', 'HardSigmoid', 'HardSwish', 'Softplus', 'Softsign', 'Sqrt', 'Exp', 'Log', 'Abs', 'Neg', 'Reciprocal'],
  ...['Floor', 'Ceil', 'Round', 'Identity', 'Dropout', 'Cast'],
])

/** Operators that put numbers at the same place together, shapes aligned at their ends. */
export const ELEMENTWISE: ReadonlySet<string> = new Set('Add Sub Mul Div Pow Min Max PRelu'.split(' '))
