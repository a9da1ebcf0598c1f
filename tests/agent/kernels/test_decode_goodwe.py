"""Recorded answers of GoodWe inverters decode to what another program reads in them.

Frames and values: `modbus_dumps_goodwe`, from the tests of github.com/marcelblijleven/goodwe (MIT,
commit 66dfcdd); the register map is read from that library's sensor tables (dt.py, et.py, 8f562a1
and after). It shows 0 where a register holds "not available"; here such a point has no value.
"""

import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from joulemark_agent.contract.profile import Golden, Identify, Profile
from joulemark_agent.contract.reading import Response
from joulemark_agent.kernels.decode import decode_responses, identifies, raw_of, text_of

# What a point of each kind is: type, scale, unit.
KINDS = {
    "v": ("uint16", "0.1", "v"), "cell": ("uint16", "0.001", "v"), "a": ("uint16", "0.1", "a"),
    "limit": ("uint16", "1", "a"), "a_s": ("int16", "0.1", "a"), "hz": ("int16", "0.01", "hz"),
    "w": ("uint16", "1", "w"), "w_s": ("int16", "1", "w"), "w4": ("uint32", "1", "w"),
    "w4_s": ("int32", "1", "w"), "va": ("int16", "1", "va"), "va4": ("int32", "1", "va"),
    "var": ("int16", "1", "var"), "var4": ("int32", "1", "var"), "pf": ("int16", "0.001", "ratio"),
    "percent": ("uint16", "0.01", "ratio"), "k": ("int16", "0.1", "k"),
    "n": ("uint16", "1", "state"), "n4": ("uint32", "1", "state"),
    "wh": ("uint16", "100", "wh"), "wh4": ("uint32", "100", "wh"),
    "wh8": ("uint64", "10", "wh"), "wh_f": ("float32", "1", "wh"), "h4": ("uint32", "3600", "s"),
}  # fmt: skip

DT = {
    "v": "vpv1 30103 vpv2 30105 vpv3 30107 vpv4 30109 vline1 30115 vline2 30116 vline3 30117"
    " vgrid1 30118 vgrid2 30119 vgrid3 30120 vbus 30163 vnbus 30164",
    "a": "ipv1 30104 ipv2 30106 ipv3 30108 ipv4 30110 igrid1 30121 igrid2 30122 igrid3 30123",
    "hz": "fgrid1 30124 fgrid2 30125 fgrid3 30126",
    "w4": "total_inverter_power 30127",
    "w_s": "total_input_power 30137",
    "n": "work_mode 30129 warning_code 30132 safety_country 30149 funbit 30162 rssi 30172",
    "n4": "error_codes 30130 derating_mode 30165",
    "va4": "apparent_power 30133",
    "var4": "reactive_power 30135",
    "pf": "power_factor 30139",
    "k": "temperature 30141 temperature_heatsink 30142",
    "wh": "e_day 30144",
    "wh4": "e_total 30145",
    "h4": "h_total 30147",
}
ET = {
    "v": "vpv1 35103 vpv2 35107 vpv3 35111 vpv4 35115 vgrid 35121 vgrid2 35126 vgrid3 35131"
    " backup_v1 35145 backup_v2 35151 backup_v3 35157 bus_voltage 35178 nbus_voltage 35179"
    " vbattery1 35180 meter_voltage1 36052 meter_voltage2 36053 meter_voltage3 36054",
    "a": "ipv1 35104 ipv2 35108 ipv3 35112 ipv4 35116 igrid 35122 igrid2 35127 igrid3 35132"
    " backup_i1 35146 backup_i2 35152 backup_i3 35158 meter_current1 36055 meter_current2 36056"
    " meter_current3 36057",
    "a_s": "ibattery1 35181",
    "hz": "fgrid 35123 fgrid2 35128 fgrid3 35133 backup_f1 35147 backup_f2 35153 backup_f3 35159"
    " meter_freq 36014",
    "w4": "ppv1 35105 ppv2 35109 ppv3 35113 ppv4 35117 ppv_total 35301",
    "w_s": "pgrid 35125 pgrid2 35130 pgrid3 35135 total_inverter_power 35138 active_power 35140"
    " backup_p1 35150 backup_p2 35156 backup_p3 35162 load_p1 35164 load_p2 35166 load_p3 35168"
    " backup_ptotal 35170 load_ptotal 35172 active_power1 36005 active_power2 36006"
    " active_power3 36007 active_power_total 36008",
    "w4_s": "pbattery1 35182 meter_active_power1 36019 meter_active_power2 36021"
    " meter_active_power3 36023 meter_active_power_total 36025 meter2_active_power 36045",
    "va": "apparent_power 35144",
    "var": "reactive_power 35142 reactive_power_total 36009",
    "va4": "meter_apparent_power1 36035 meter_apparent_power2 36037 meter_apparent_power3 36039"
    " meter_apparent_power_total 36041 apparent_power1 35359 apparent_power2 35361"
    " apparent_power3 35363",
    "var4": "meter_reactive_power1 36027 meter_reactive_power2 36029 meter_reactive_power3 36031"
    " meter_reactive_power_total 36033 reactive_power1 35353 reactive_power2 35355"
    " reactive_power3 35357",
    "pf": "meter_power_factor1 36010 meter_power_factor2 36011 meter_power_factor3 36012"
    " meter_power_factor 36013",
    "percent": "ups_load 35173 battery_soc 37007 battery_soh 37008",
    "k": "temperature_air 35174 temperature_module 35175 temperature 35176"
    " battery_temperature 37003 battery_max_cell_temp 37020 battery_min_cell_temp 37021",
    "limit": "battery_charge_limit 37004 battery_discharge_limit 37005",
    "cell": "battery_max_cell_voltage 37022 battery_min_cell_voltage 37023",
    "n": "pv_modes_4_3 35119 pv_modes_2_1 35120 grid_mode 35136 load_mode1 35148 load_mode2 35154"
    " load_mode3 35160 function_bit 35177 battery_mode 35184 warning_code 35185"
    " safety_country 35186 work_mode 35187 operation_mode 35188 pv_channel 35303 commode 36000"
    " rssi 36001 manufacture_code 36002 meter_test_status 36003 meter_comm_status 36004"
    " meter_type 36043 meter_sw_version 36044 meter2_comm_status 36051 battery_bms 37000"
    " battery_index 37001 battery_status 37002 battery_error_l 37006 battery_modules 37009"
    " battery_warning_l 37010 battery_protocol 37011 battery_error_h 37012 battery_warning_h 37013"
    " battery_sw_version 37014 battery_hw_version 37015 battery_max_cell_temp_id 37016"
    " battery_min_cell_temp_id 37017 battery_max_cell_voltage_id 37018"
    " battery_min_cell_voltage_id 37019",
    "n4": "error_codes 35189 diagnose_result 35220",
    "wh": "e_day_exp 35199 e_day_imp 35202 e_load_day 35205 e_bat_charge_day 35208"
    " e_bat_discharge_day 35211",
    "wh4": "e_total 35191 e_day 35193 e_total_exp 35195 e_total_imp 35200 e_load_total 35203"
    " e_bat_charge_total 35206 e_bat_discharge_total 35209",
    "wh8": "meter_e_total_exp1 36092 meter_e_total_exp2 36096 meter_e_total_exp3 36100"
    " meter_e_total_exp_long 36104 meter_e_total_imp1 36108 meter_e_total_imp2 36112"
    " meter_e_total_imp3 36116 meter_e_total_imp_long 36120",
    "wh_f": "meter_e_total_exp 36015 meter_e_total_imp 36017 meter2_e_total_exp 36047"
    " meter2_e_total_imp 36049",
    "h4": "h_total 35197",
    "w": " ".join(f"pmppt{i} {35336 + i}" for i in range(1, 9)),
}
ET["v"] += "".join(f" vpv{5 + i} {35304 + 2 * i}" for i in range(12))
ET["a"] += "".join(f" ipv{5 + i} {35305 + 2 * i}" for i in range(12))
ET["a"] += "".join(f" imppt{i} {35344 + i}" for i in range(1, 9))
DIAGNOSIS = {  # bit of the 32 of diagnose_result: what the library calls it
    8: "APP: Discharge current too low", 24: "Export power limit set",
    25: "PF value set", 28: "SOC protect off",
}  # fmt: skip

# What the library calls the codes that the recordings show.
LABELS = {
    "DT.work_mode": {0: "Wait Mode", 1: "Normal"},
    "ET.work_mode": {1: "Normal (On-Grid)"},
    "safety_country": {
        1: "CZ-A1", 2: "DE LV with PV", 9: "Australia A", 32: "50Hz 230Vac Default",
    },
    "derating_mode": {0: "", 256: "Maximum current derating"},
    "grid_mode": {1: "Connected to grid"},
    "grid_in_out": {0: "Idle", 1: "Exporting"},
    "battery_mode": {2: "Discharge", 3: "Charge"},
    **{f"pv{i}_mode": {0: "PV panels not connected", 2: "PV panels connected, producing power"}
       for i in range(1, 5)},
}  # fmt: skip
FIRST = {  # register of each request, by family
    "DT": {"DEVICE_VERSION_INFO": 30001, "RUNNING_DATA": 30100},
    "ET": {
        "DEVICE_VERSION_INFO": 35000, "RUNNING_DATA": 35100, "METER_DATA": 36000,
        "METER_DATA_EXTENDED2": 36000, "BATTERY_INFO": 37000, "MPPT_DATA": 35301,
    },
}  # fmt: skip
UNIT = {"DT": 0x7F, "ET": 0xF7}
TWICE = "GW10K-ET_running_data_fw1023.hex"  # one frame, pasted twice


def profile(family: str) -> Profile:
    points: list[dict[str, Any]] = []
    for kind, places in {"DT": DT, "ET": ET}[family].items():
        words = places.split()
        number, scale, unit = KINDS[kind]
        for name, address in zip(words[::2], words[1::2], strict=True):
            made: dict[str, Any] = {"name": f"{name}_{unit}", "address": int(address)}
            if kind == "k":
                made |= {"offset": "273.15", "sentinels": [0xFFFF, 0x7FFF]}
            points.append({"table": "holding", "type": number, "scale": scale, **made})
    if family == "ET":
        points += [
            {"name": f"diagnosis_{bit}_state", "table": "holding", "type": "bit",
             "address": 35221 - bit // 16, "bit": bit % 16}
            for bit in range(32)
        ]  # fmt: skip
    serial, model = (30004, 30012) if family == "DT" else (35003, 35011)
    for name, start, count in (("serial_number", serial, 8), ("model", model, 5)):
        points.append(
            {"name": f"{name}_text", "table": "holding", "type": "string", "address": start,
             "length": count}
        )  # fmt: skip
    return Profile.model_validate(
        {
            "model": f"goodwe_{family.lower()}",
            "kind": "pv_inverter",
            "protocol": "modbus",
            "source": "made up by a test",
            "confidence": "second_hand",
            "points": points,
            "sentinels": {
                "uint16": [0xFFFF], "uint32": [0xFFFFFFFF], "uint64": [0xFFFFFFFFFFFFFFFF],
            },
            "golden": [Golden(point="work_mode_state", words=(1,), value=Decimal(1))],
        }
    )  # fmt: skip


PROFILES = {family: profile(family) for family in FIRST}


def crc16(data: bytes) -> int:
    """Modbus over Serial Line 1.02, section 6.2.2."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def registers(frame: bytes, unit: int) -> bytes:
    """The data of one answer to function 3, in either framing; anything else is refused by name."""
    if frame[2:4] == b"\0\0":
        length, answered = struct.unpack_from(">HB", frame, 4)
        if len(frame) != 6 + length:
            raise ValueError("length")
        body = frame[7:]
    elif frame[:2] == b"\xaa\x55":
        answered, body = frame[2], frame[3:-2]
        if len(frame) != 7 + frame[4]:
            raise ValueError("length")
        if crc16(frame[2:-2]) != int.from_bytes(frame[-2:], "little"):
            raise ValueError("crc")
    else:
        raise ValueError("framing")
    if answered != unit:
        raise ValueError("unit")
    if body[0] != 3 or len(body) != 2 + body[1]:
        raise ValueError("function or byte count")
    return body[2:]


def frame_of(folder: Path, name: str) -> bytes:
    frame = bytes.fromhex((folder / name).read_text())
    return frame[: len(frame) // 2] if name == TWICE else frame


@pytest.fixture(scope="module")
def folder(plant_data: Path) -> Path:
    return plant_data / "modbus_dumps_goodwe"


def test_every_frame_is_whole_and_the_one_that_stands_twice_is_refused_by_name(
    folder: Path,
) -> None:
    told: Counter[tuple[str, object]] = Counter()
    for path in sorted(folder.glob("*.hex")):
        unit = UNIT["ET" if "-ET_" in path.name else "DT"]
        frame = bytes.fromhex(path.read_text())
        try:
            told["good", len(registers(frame, unit)) % 2] += 1
        except ValueError as error:
            told[path.name, str(error)] += 1
        else:
            with pytest.raises(ValueError, match="unit"):
                registers(frame, unit ^ 1)
            if frame[:2] == b"\xaa\x55":  # the control: one bit more or less is found
                for at in (6, len(frame) - 1):
                    broken = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
                    with pytest.raises(ValueError, match="crc"):
                        registers(broken, unit)

    assert told == {("good", 0): 20, (TWICE, "length"): 1}
    frame = bytes.fromhex((folder / TWICE).read_text())
    half = len(frame) // 2
    assert frame[:half] == frame[half:]
    assert registers(frame[:half], UNIT["ET"])


TO_SI: Mapping[str, Callable[[Decimal], Decimal]] = {
    "C": lambda value: value + Decimal("273.15"),
    "kWh": lambda value: value * 1000,
    "h": lambda value: value * 3600,
    "%": lambda value: value / 100,
}


def derived(
    family: str, of: Mapping[str, Decimal], sampled: Mapping[str, Decimal]
) -> dict[str, Any]:
    """What the library computes from registers, from the values decoded here."""
    whole = lambda value: value.quantize(Decimal(1), ROUND_HALF_EVEN)  # noqa: E731 - once, here
    if family == "DT":
        found: dict[str, Any] = {
            f"ppv{i}": whole(of[f"vpv{i}"] * of[f"ipv{i}"]) for i in range(1, 5)
        }
        found["ppv"] = sum(found.values())
        found |= {f"pgrid{i}": whole(of[f"vgrid{i}"] * of[f"igrid{i}"]) for i in range(1, 4)}
        return found
    found = {"ppv": sum(of[f"ppv{i}"] for i in range(1, 5))}
    found["house_consumption"] = found["ppv"] + of["pbattery1"] - of["active_power"]
    power = of["active_power"]
    found["grid_in_out"] = 2 if power < -90 else int(power >= 90)
    for i in range(1, 5):
        both = int(of["pv_modes_4_3" if i > 2 else "pv_modes_2_1"])
        found[f"pv{i}_mode"] = both >> 8 if i % 2 == 0 else both & 0xFF
    found["errors"] = {0: ""}[int(of["error_codes"])]
    for name in ("battery_error", "battery_warning"):
        if f"{name}_l" in sampled:
            found[name] = {0: ""}[int(of[f"{name}_l"]) | int(of[f"{name}_h"])]
    bits = [bit for bit in range(32) if of[f"diagnosis_{bit}"]]
    if set(bits) <= set(DIAGNOSIS):
        found["diagnose_result_label"] = ", ".join(DIAGNOSIS[bit] for bit in bits)
    for name in ("meter_e_total_exp", "meter_e_total_imp"):
        if f"{name}_long" in sampled:  # where the meter has both, the longer one counts
            found[name] = of[f"{name}_long"]
    return found


def test_all_values_that_another_program_asserts_of_these_frames_are_decoded(
    folder: Path,
) -> None:
    asserted = json.loads((folder / "expected_values.json").read_text())
    told: Counter[str] = Counter()
    for device, row in asserted.items():
        family = "ET" if "_ET_" in device else "DT"
        responses = [
            Response(
                "holding",
                FIRST[family][request.removeprefix("READ_")],
                registers(frame_of(folder, name), UNIT[family]),
            )
            for request, name in row["responses"].items()
        ]
        values, quality = decode_responses(PROFILES[family], responses)
        sampled = {name.rpartition("_")[0]: Decimal(text) for name, text in values.items()}
        absent = {name.rpartition("_")[0] for name, code in quality.items() if code == "sentinel"}
        zero = dict.fromkeys([n.rpartition("_")[0] for n in [*values, *quality]], Decimal(0))
        of = zero | sampled
        computed = derived(family, of, sampled)
        for row_of in row["expected"]:
            name, unit, text = row_of["id"], row_of["unit"], row_of["value"]
            where = f"{device} {name}"
            if name.endswith("_label") and name not in computed:
                code = name.removesuffix("_label")
                labels = LABELS.get(code) or LABELS[f"{family}.{code}"]
                assert f'"{labels[int((of | computed)[code])]}"' == text, where
                told["label"] += 1
            elif name in computed:
                expected = json.loads(text) if text.startswith('"') else None
                if expected is None:
                    expected = TO_SI.get(unit, Decimal)(Decimal(text))
                assert computed[name] == expected, where
                told["computed"] += 1
            elif name in absent:
                assert text in {"0", "0.0", "None"}, where
                told["not available"] += 1
            elif name not in sampled:
                told[f"not in the frames: {name}"] += 1
            else:
                wanted = TO_SI.get(unit, Decimal)(Decimal(text).quantize(Decimal("1e-6")))
                if unit == "kWh":  # it rounds floats to whole watt-hours
                    sampled[name] = sampled[name].quantize(Decimal(1))
                assert sampled[name] == wanted, where
                told["value"] += 1

    # The library fills one answer in for a test, and reads past the end of another as 0.
    unread = ("commode", "rssi", "manufacture_code", "apparent_power2", "apparent_power3")
    assert told == {
        "value": 551, "not available": 13, "computed": 58, "label": 34,
        **{f"not in the frames: {name}": 1 for name in unread},
    }  # fmt: skip
    assert sum(told.values()) == 661


TEXTS = {
    "GW10K-MS-30_device_info": ("5010KMSC000W0000", ""),  # ten bytes of 0xFF
    "GW17K-DT_device_info": ("5017KDTT00BW0000", "GW17KT-DT"),
    "GW20KAU-DT_device_info": ("0000KDTA00000000", "GW20KAU-DT"),
    "GW50KS-MT_device_info": ("5050KMTO233W0000", "GW50KS-MT"),
    "GW10K-ET_device_info_fw617": ("9010KETU000W0000", "GW10K-ET"),
    "GW10K-ET_device_info_fw819": ("9010KETU00000000", "0GW10K-ET"),  # a digit too many
    "GW10K-ET_device_info_fw1023": ("9010KETU000W0000", "GW10K-ET"),
    "GW20K-ET_device_info": ("9020KETT232W0000", ""),  # ten zero bytes
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_device_tells_its_serial_number_and_model_as_text(folder: Path, name: str) -> None:
    family = "ET" if "-ET_" in name else "DT"
    made, first = PROFILES[family], FIRST[family]["DEVICE_VERSION_INFO"]
    data = registers(frame_of(folder, f"{name}.hex"), UNIT[family])
    raw = raw_of(made, [Response("holding", first, data)])
    found = []
    for point in made.registers:
        if point.type == "string":
            found.append(text_of(point, raw[point.name]))
            rule = Identify.model_validate(
                point.model_dump(include={"table", "address", "type", "length"})
                | {"one_of": [found[-1], "another"]}
            )
            assert identifies(rule, raw[point.name])
            assert not identifies(rule, raw[point.name][:-2] + b"!!") or not found[-1]
    values, quality = decode_responses(made, [Response("holding", first, data)])

    assert tuple(found) == TEXTS[name]
    assert values == {}
    assert {quality["serial_number_text"], quality["model_text"]} == {"text"}
