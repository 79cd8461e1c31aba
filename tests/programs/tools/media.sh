# ImageMagick and ffmpeg: make pictures and a film, and read them again.
. /opt/programs/files/common.sh
need convert ffmpeg
convert -size 400x300 plasma:red-blue -resize 50% -rotate 90 a.png
expect picture "$(identify -format '%wx%h %m' a.png)" "150x200 PNG"
convert a.png -quality 90 a.jpg && convert a.jpg a.webp && identify a.webp >/dev/null
ffmpeg -v error -f lavfi -i testsrc=duration=2:size=320x240:rate=25 -f lavfi -i sine=duration=2 -threads 4 -y out.mp4 </dev/null
expect frames "$(ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames -of csv=p=0 out.mp4)" 50
ffmpeg -v error -i out.mp4 -vf scale=160:120 -y out.mkv </dev/null && [ -s out.mkv ]
