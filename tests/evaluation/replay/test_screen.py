from rllib_moe.evaluation.replay.screen import Box, Line, crop, parse_ansi


def test_reads_colors_and_leaves_blanks_at_the_end_out():
    # Bold red, plain green, reset; then bright blue, and a cursor movement that shows nothing.
    text = "\x1b[1;31mab\x1b[0;32mc\x1b[0m d  \n\x1b[94mx\x1b[2J\n"
    assert parse_ansi(text) == [Line("abc d", "99277"), Line("x", "c"), Line("", "")]


def test_a_colored_ground_keeps_its_blanks():
    assert parse_ansi("a\x1b[41m  \x1b[49mb  \x1b[42m \x1b[0m") == [Line("a  b   ", "7hh777i")]


def test_other_sequences_change_no_color():
    assert parse_ansi("\x1b[31mred\x1b[Kstill\x1b[2;3H.\x1b[m.") == [Line("redstill..", "1111111117")]
    # A color of 256 by its number, one of all as a ground, which is none of ours; then a code that is cut off.
    assert parse_ansi("\x1b[38;5;1ma\x1b[48;2;1;2;3;32mb\x1b[38mc") == [Line("abc", "122")]


def test_what_cannot_be_printed_becomes_a_blank():
    assert parse_ansi("a\0b\x1b") == [Line("a b", "777")]


def test_crops_every_level_to_what_it_shows_over_the_episode():
    def screen(*shown):
        lines = [Line("", "")] * 12
        for row, column, text in [(0, 0, "words"), (11, 79, "x"), *shown]:
            lines[row] = Line(" " * column + text, "7" * (column + len(text)))
        return lines

    shown = [(4, 20, "a" * 32)], [(6, 18, "ab")], [(10, 70, "abcdefghij")], [(4, 20, "a")]
    # Level 1: columns 18 to 51 and the margin of three; level 2: columns 70 to 79, widened to 30 and
    # moved back to the edge. Nine lines of the map's ten are the least.
    found = crop([screen(*each) for each in shown], (1, 11), ["1", "1", "2", "1"])
    first = Box(1, 18 - 3, 9, 34 + 6)
    assert found == ((12, 80), (1, 11), [first, first, Box(11 - 9, 80 - 30, 9, 30), first])


def test_shows_everything_where_no_lines_are_a_map():
    screens = [[Line("", ""), Line("  ab", "7777")]]
    assert crop(screens, None, [""]) == ((2, 4), (0, 2), [Box(0, 0, 2, 4)])
    assert crop(screens, (0, 2), [""]).boxes == [Box(0, 0, 2, 4)]
