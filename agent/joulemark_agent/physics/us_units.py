"""Exact factors from the units of US customary formulas to SI, so that none is typed twice.

Published formulas of machines are often fits in Btu, feet, psi and degrees Fahrenheit. Their
coefficients stay as published, beside the factor that makes them SI.

Sources: NIST Special Publication 811 (2008), appendix B.8 (foot, pound, international-table Btu,
inch of water at its conventional density); all exact but the last by definition.
"""

M_PER_FT = 0.3048
M_PER_IN = 0.0254
M2_PER_FT2 = M_PER_FT**2
M2_PER_IN2 = M_PER_IN**2
M3_PER_FT3 = M_PER_FT**3
M3_PER_GAL = 231 * M_PER_IN**3
M3_S_PER_CFM = M3_PER_FT3 / 60
M_S_PER_MPH = 5280 * M_PER_FT / 3600
KG_PER_LB = 0.45359237
PA_PER_PSI = KG_PER_LB * 9.80665 / M2_PER_IN2
PA_PER_INH2O = 249.08891  # conventional
J_PER_BTU = 1055.05585262
W_PER_BTU_H = J_PER_BTU / 3600
F_PER_K = 1.8  # degrees Fahrenheit in a difference of one kelvin
F_AT_0_K = -459.67
J_KG_PER_BTU_LB = 2326.0
J_KG_K_PER_BTU_LB_F = 4186.8
J_M3_PER_BTU_FT3 = J_PER_BTU / M3_PER_FT3
